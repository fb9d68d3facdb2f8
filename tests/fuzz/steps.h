/* The steps that scripts are made of, and the tasks that follow scripts. */
#ifndef ASYNCIO_FUZZ_STEPS_H
#define ASYNCIO_FUZZ_STEPS_H

#include "model.h"

#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/uio.h>

/* An input is a byte for the configuration, then records: who (a byte), what (a byte), and arguments. */
enum { RECORD = 5, ARGUMENTS = 3, HEADER = 2, STEPS_MAX = 160 };

/* The scripts: of the driving thread, of the second thread, of functions that the library calls, and of tasks. */
enum { SCRIPT_MAIN, SCRIPT_OTHER, SCRIPT_CALLS, SCRIPT_TASKS };

/* Memory that an operation was given. */
struct letter {
    struct msghdr msg;
    struct iovec iov[2];
    struct statx x;
    char data[256];
};

enum { OPS = 8, LETTERS = 24 };

struct pending {
    struct thing *thing;
    struct letter *letter;
    bool makes; /* its outcome is a descriptor */
};

/* The state of a task: what it does comes from a script. */
struct job {
    struct thing *thing;
    struct thing *home;
    unsigned script, mode;
    size_t at;
    int tries;
    atomic_int inside;
    bool over; /* it was dropped */
    bool blocked_on; /* of rt_block_on: it has no handle, and ends soon */
    struct pending ops[OPS];
    struct letter *letters[LETTERS];
    unsigned letter_count;
    atomic_int promises; /* of operations that were let go of */
    rt_timer sleep;
    uint64_t sleep_at;
    rt_op question;
    bool asked;
    size_t written;
    rt_io io; /* of a served connection */
    uint64_t served;
};

struct job *job_new(struct thing *home, uint8_t script, uint8_t mode);
int64_t job_poll(rt_cx *cx, void *state);
void job_drop(void *state);
void job_free(struct job *job); /* of one that no task was made of */
int64_t inline_poll(rt_cx *cx, void *state);
void inline_drop(void *state);
/* The outcome of an operation was taken, or what it was given is not in use any more. */
void job_forget_op(struct job *job, struct pending *p);

/* A function of the target's was called by the library: it may call back. */
void call_back(void);

/* The context of this poll, one of the thread's own, or none. */
rt_cx *cx_of(struct actor *a, uint8_t byte);
/* A time that has passed, is near, or never comes. */
uint64_t time_of(uint8_t byte);
/* A timeout of a millisecond at most. */
uint64_t timeout_of(uint8_t byte);
extern const unsigned char pattern[4096];

/* A descriptor that the library gave. */
struct thing *keep_io(struct actor *a, rt_io io, struct thing *home, uint8_t slot);
void keep_lease(struct actor *a, const rt_buf *buf, int64_t received, uint8_t slot);
/* The outcome of a task that was joined. */
void task_ended(struct actor *a, struct use *u, int64_t result);

extern struct thing *primary;
extern const char *scratch; /* a directory */
extern atomic_bool scratch_used;
extern atomic_int runtimes_made, tasks_made;
/* This thread is one of the two. */
extern _Thread_local bool scripted;
/* It is inside of a function that may block. */
extern _Thread_local bool may_block;
/* It is inside of an attempt on a descriptor, which stays open as long. */
extern _Thread_local bool attempting;
bool on_main(void);
/* Who is called by the library, or is a task on a thread of its own, waits for what the primary runtime does and for no
 * other's: runtimes whose tasks wait for each other wait for ever. */
bool may_wait_for(const struct thing *rt);

#define STEPS(X)                                                                                  \
    X(turn) X(drive) X(block_on) X(run) X(shut) X(look) X(runtime_new)                            \
    X(spawn) X(spawn_with) X(task_abort) X(task_detach) X(task_wake) X(task_join) X(poll_join)    \
    X(yield) X(context) X(waker) X(waker_use) X(blocking) X(call_at)                              \
    X(notify_new) X(notify) X(poll_notified) X(notify_free)                                       \
    X(sem_new) X(sem_acquire) X(sem_try) X(sem_release) X(sem_end)                                \
    X(chan_new) X(chan_send) X(chan_recv) X(chan_poll_send) X(chan_poll_recv) X(chan_end)         \
    X(oneshot_new) X(oneshot_send) X(oneshot_wait) X(poll_oneshot) X(oneshot_end)                 \
    X(event_new) X(event_set) X(poll_event) X(event_wait) X(event_free)                           \
    X(signal_open) X(signal_raise) X(poll_signal) X(signal_close)                                 \
    X(timer_start) X(timer_interval) X(timer_reset) X(timer_cancel) X(poll_timer) X(sleep)        \
    X(deadline) X(set_new) X(set_add) X(poll_set) X(set_free)                                     \
    X(io_pair) X(io_pipe) X(io_event) X(io_file) X(io_close) X(io_deregister) X(io_forget)        \
    X(io_read) X(io_write) X(io_vectors) X(io_message) X(io_ready) X(io_try) X(io_clear)          \
    X(io_level) X(io_rehome) X(raw_use) X(raw_close)                                              \
    X(submit_bytes) X(submit_vectors) X(submit_message) X(submit_socket) X(submit_end)            \
    X(submit_file) X(submit_path) X(submit_call) X(submit_multi) X(poll_op) X(poll_next)          \
    X(op_cancel) X(op_deadline) X(op_forget) X(quiesce)                                           \
    X(buf_release) X(send) X(blob_new) X(send_blob) X(send_buf) X(blob_free) X(flush)             \
    X(listen) X(accept) X(connect) X(connect_task) X(udp) X(datagrams) X(fds) X(addresses)        \
    X(resolve) X(stream_new) X(stream_read) X(stream_lines) X(stream_exact) X(stream_write)       \
    X(stream_flush) X(stream_free) X(serve) X(server_use) X(server_drain) X(server_free)     \
    X(watch_open) X(watch_use) X(watch_close)

#define STEP_PROTOTYPE(name) int64_t step_##name(struct actor *a, const uint8_t *b);
STEPS(STEP_PROTOTYPE)

#endif
