/* A malloc for LD_PRELOAD that shows who touches memory after it was freed, be it the kernel, which
 * neither valgrind nor the sanitizers watch.
 *
 * A block that was freed is not used again for a while. It is filled, and looked at when it is its
 * turn to go: if anybody wrote to it meanwhile, the program ends with a word about it. That finds
 * the kernel's late writes for sure, but not who asked for them.
 *
 * A block of BIG bytes or more ends at a page that nobody may touch. When every second of them is
 * freed, it vanishes instead: the program faults there on the spot, and to the kernel it is EFAULT,
 * be it to read or to write. So a late send fails, which the test must notice by what it gets.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    BIG = 256,
    PAGE = 4096,
    SCRIBBLE = 0xdd,
    ALIGNED = 16,
    MOST_MAPPED = 12000,    /* of 65530 mappings that a process may have, three each at most */
    MOST_FREED = 4096,      /* blocks that wait */
    FREED_BYTES = 64 << 20, /* and what they may hold of memory */
};

/* What glibc calls its own. */
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *block);

/* Lies right before what the program gets. */
struct head {
    uint64_t live; /* whether it is, and whether it is one of ours: LIVE with the address */
    void *base;    /* of what it was cut from */
    size_t mapped; /* how long the mapping is; 0: it is glibc's */
    size_t size;
};
#define LIVE UINT64_C(0x6c69766562756767)

struct freed {
    unsigned char *data;
    struct head head;
    bool vanished;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct freed queue[MOST_FREED];
static unsigned first, last;     /* of the queue: `first` is the oldest */
static size_t waiting;           /* bytes of what waits and has not vanished */
static size_t mappings, numbers; /* now; and ever */
static size_t live;              /* bytes of blocks that are taken */

static void say(const char *words) {
    if (write(STDERR_FILENO, words, strlen(words)) < 0) return;
}

static void say_number(uint64_t n) {
    char digits[21] = "", *at = digits + 20;
    do *--at = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    say(at);
}

static _Noreturn void die(const char *what, size_t size, size_t at) {
    say("guard: ");
    say(what);
    say(": a block of ");
    say_number(size);
    say(" bytes, at offset ");
    say_number(at);
    say("\n");
    _exit(98);
}

/* ---- blocks ---- */

static struct head *head_of(void *data) { return (struct head *)data - 1; }

static uint64_t live_mark(void *data) { return LIVE ^ (uint64_t)(uintptr_t)data; }

static bool may_map(size_t size) {
    if (size < BIG) return false;
    bool may = __atomic_add_fetch(&mappings, 1, __ATOMIC_RELAXED) <= MOST_MAPPED;
    if (!may) __atomic_sub_fetch(&mappings, 1, __ATOMIC_RELAXED);
    return may;
}

/* Room for the head and the block, which ends as near to the last page as its alignment allows. */
static void *map_block(size_t align, size_t size, struct head *head) {
    size_t room = (size + sizeof *head + align + PAGE - 1) / PAGE * PAGE;
    head->mapped = room + PAGE;
    void *base = mmap(NULL, head->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return NULL;
    head->base = base;
    mprotect((char *)base + room, PAGE, PROT_NONE);
    uintptr_t data = ((uintptr_t)base + room - size) & ~(uintptr_t)(align - 1);
    return (void *)data;
}

static void *take(size_t align, size_t size) {
    struct head head = {.size = size};
    unsigned char *data = NULL;
    if (align < ALIGNED) align = ALIGNED;
    if (size > PTRDIFF_MAX - 4 * PAGE || align > (1 << 30)) return errno = ENOMEM, NULL;
    if (may_map(size)) {
        data = map_block(align, size, &head);
        if (data == NULL) {
            __atomic_sub_fetch(&mappings, 1, __ATOMIC_RELAXED);
            head.mapped = 0;
        }
    }
    if (data == NULL) {
        size_t before = align > sizeof head ? align : sizeof head;
        head.base = __libc_memalign(align, size + before);
        if (head.base == NULL) return errno = ENOMEM, NULL;
        data = (unsigned char *)head.base + before;
    }
    head.live = live_mark(data);
    *head_of(data) = head;
    __atomic_add_fetch(&live, size, __ATOMIC_RELAXED);
    return data;
}

/* ---- what was freed ---- */

static void give_back(struct freed *f) {
    if (!f->vanished) {
        for (size_t i = 0; i < f->head.size; i++)
            if (f->data[i] != SCRIBBLE) die("somebody wrote to freed memory", f->head.size, i);
        waiting -= f->head.size;
    }
    if (f->head.mapped == 0) {
        __libc_free(f->head.base);
    } else {
        munmap(f->head.base, f->head.mapped);
        __atomic_sub_fetch(&mappings, 1, __ATOMIC_RELAXED);
    }
}

static void look_at_all(void) {
    while (first != last) give_back(&queue[first++ % MOST_FREED]);
}

static void put_aside(unsigned char *data) {
    struct freed *f = &queue[last++ % MOST_FREED];
    f->head = *head_of(data);
    __atomic_sub_fetch(&live, f->head.size, __ATOMIC_RELAXED);
    f->data = data;
    f->vanished = f->head.mapped != 0 && numbers++ % 2 != 0;
    if (f->vanished) {
        /* Its memory goes, its addresses stay. */
        mmap(f->head.base, f->head.mapped, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    } else {
        head_of(data)->live = 0;
        memset(data, SCRIBBLE, f->head.size);
        waiting += f->head.size;
    }
}

/* ---- malloc and its family ---- */

void *malloc(size_t size) { return take(ALIGNED, size); }

void free(void *data) {
    if (data == NULL) return;
    struct head *head = head_of(data);
    if (head->live != live_mark(data)) die("freed twice, or never taken", 0, 0);
    int error = errno;
    pthread_mutex_lock(&lock);
    if (last - first == MOST_FREED) give_back(&queue[first++ % MOST_FREED]);
    put_aside(data);
    while (waiting > FREED_BYTES) give_back(&queue[first++ % MOST_FREED]);
    pthread_mutex_unlock(&lock);
    errno = error;
}

void *calloc(size_t n, size_t size) {
    size_t all;
    if (__builtin_mul_overflow(n, size, &all)) return errno = ENOMEM, NULL;
    void *data = take(ALIGNED, all);
    if (data != NULL && head_of(data)->mapped == 0) memset(data, 0, all);
    return data;
}

/* Always moves. */
void *realloc(void *old, size_t size) {
    if (old == NULL) return take(ALIGNED, size);
    if (size == 0) return free(old), NULL;
    void *data = take(ALIGNED, size);
    if (data == NULL) return NULL;
    size_t had = head_of(old)->size;
    memcpy(data, old, had < size ? had : size);
    free(old);
    return data;
}

int posix_memalign(void **out, size_t align, size_t size) {
    int error = errno;
    void *data = take(align, size);
    errno = error;
    if (data == NULL) return ENOMEM;
    *out = data;
    return 0;
}

void *memalign(size_t align, size_t size) { return take(align, size); }
void *aligned_alloc(size_t align, size_t size) { return take(align, size); }
void *valloc(size_t size) { return take(PAGE, size); }
void *pvalloc(size_t size) { return take(PAGE, (size + PAGE - 1) / PAGE * PAGE); }
size_t malloc_usable_size(void *data) { return data == NULL ? 0 : head_of(data)->size; }

/* To the program, what waits in the queue is free. */
struct mallinfo2 mallinfo2(void) {
    return (struct mallinfo2){.uordblks = __atomic_load_n(&live, __ATOMIC_RELAXED)};
}

/* ---- the process ---- */

static void fork_begins(void) { pthread_mutex_lock(&lock); }
static void fork_ends(void) { pthread_mutex_unlock(&lock); }

__attribute__((constructor)) static void begin(void) {
    pthread_atfork(fork_begins, fork_ends, fork_ends);
}

__attribute__((destructor)) static void end(void) {
    pthread_mutex_lock(&lock);
    look_at_all();
    pthread_mutex_unlock(&lock);
}
