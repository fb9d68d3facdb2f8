/* The smallest whole program: a task is spawned, waits for a thread, is woken, and is joined.
 *
 * It shows
 *   - a task: a poll function with its state, which says RT_PENDING until it is done;
 *   - waking it from a thread that the library knows nothing of, by its handle alone;
 *   - a task that awaits another, and a thread that waits for a task.
 *
 * Usage: hello_task [NAME]
 *
 * Try it: build/c-examples/hello_task World
 * It prints "hello, World" and "the greeting took 12 characters", and ends with status 0.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include <asyncio.h>
#include <asyncio_await.h>

/* What the thread hands to the task. */
struct letter {
    const char *name;
    _Atomic(const char *) arrived;
    rt_task greeter;
};

struct host {
    struct letter letter;
    pthread_t postman;
    bool posted;

    rt_frame frame;
    int64_t r, length;
};

/* A poll function by hand. It may be called without need, so it looks whether its time has come. */
static int64_t greet(rt_cx *cx, void *state) {
    struct letter *l = state;
    (void)cx;
    const char *name = atomic_load(&l->arrived);
    if (name == NULL) return RT_PENDING;
    return printf("hello, %s\n", name) - 1;
}

/* First the news, then the wake: a poll follows the last wake and sees what came before it. Were
 * the task gone by now, its handle would be stale, and the wake harmless. */
static void *deliver(void *arg) {
    struct letter *l = arg;
    atomic_store(&l->arrived, l->name);
    rt_task_wake(l->greeter);
    return NULL;
}

/* The same kind of function, with the macros: spawns the greeter, has it woken, joins it. */
static int64_t host(rt_cx *cx, void *state) {
    struct host *h = state;
    RT_BEGIN(&h->frame);
    h->r = rt_spawn(rt_cx_runtime(cx), greet, &h->letter, NULL, &h->letter.greeter);
    if (h->r < 0) RT_RETURN(h->r);
    h->posted = pthread_create(&h->postman, NULL, deliver, &h->letter) == 0;
    if (!h->posted) deliver(&h->letter);
    RT_AWAIT(h->r, rt_poll_join(cx, h->letter.greeter, &h->length));
    RT_END(h->r < 0 ? h->r : h->length);
}

int main(int argc, char **argv) {
    struct host h = {.letter.name = argc > 1 ? argv[1] : "world"};
    char why[256] = "";
    rt_runtime rt = 0;
    rt_task task = 0;
    int64_t length = 0;

    int64_t r = rt_new(NULL, &rt, why, sizeof why);
    if (r == 0) r = rt_spawn(rt, host, &h, NULL, &task);
    if (r == 0) r = rt_join(task, RT_NEVER, &length);
    if (r == 0) r = length; /* the task's own result, which may be an error as well */

    rt_free(rt); /* no task runs after this, and no handle can harm: the thread may still wake */
    if (h.posted) pthread_join(h.postman, NULL);
    if (r < 0) fprintf(stderr, "hello_task: %s %s\n", rt_strerror(r), why);
    else printf("the greeting took %d characters\n", (int)r);
    return r < 0;
}
