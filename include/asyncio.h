/*
 * libasyncio: a Linux server runtime for C. Tasks, wakers, readiness and operations.
 *
 * Results are int64_t: zero or more is success, -errno is failure, and RT_PENDING means that the
 * calling task will be woken. rt_failed() is true for failures only; errno is never used.
 * Handles are uint64_t and 0 is never one of them. A handle that is stale, forged or of another
 * kind gives -EBADF from any thread; the functions that release one accept 0 and do nothing.
 * Times are nanoseconds on the monotonic clock.
 * An rt_poll_* call may be repeated with the same arguments until it is ready; polls may come
 * without a reason. Structs with options begin with their size, set by their _init function.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef ASYNCIO_H
#define ASYNCIO_H

/* Generated from src/capi by cbindgen: edit the sources, then run `make header`. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#if !defined(__linux__) || !defined(__LP64__)
#error "libasyncio runs on 64-bit Linux only"
#endif

/* Of <sys/stat.h>, with _GNU_SOURCE. */
struct statx;

/**
 * What an `rt_poll_*` call returns when it is not ready: the task that called it will be woken. No other call returns it,
 * and no error has this value.
 */
#define RT_PENDING (-INT64_C(4096))

/**
 * A deadline, or a timeout, that never comes.
 */
#define RT_NEVER UINT64_MAX

/**
 * A flavour: the runtime has threads of its own, which steal work from each other. The default.
 */
#define RT_MULTI_THREAD UINT32_C(0)

/**
 * A flavour: no threads; the thread that calls `rt_run`, `rt_turn` or `rt_block_on` runs the tasks.
 */
#define RT_CURRENT_THREAD UINT32_C(1)

/**
 * An engine: the best that this machine offers. The default. `rt_describe` says which that is, and why.
 */
#define RT_ENGINE_AUTO UINT32_C(0)

/**
 * An engine: epoll.
 */
#define RT_ENGINE_EPOLL UINT32_C(1)

/**
 * An engine: io_uring, or an error that says why it cannot be had.
 */
#define RT_ENGINE_URING UINT32_C(2)

/**
 * For `rt_config::spin_ns`: never spin.
 */
#define RT_SPIN_OFF UINT64_MAX

/**
 * For `rt_config::poll_budget`: no limit.
 */
#define RT_BUDGET_OFF UINT32_MAX

/**
 * For `rt_config::lifo_limit`: the LIFO slot is not used.
 */
#define RT_LIFO_OFF UINT32_MAX

/**
 * For `rt_spawn_opts::flags`: the task stays on one worker.
 */
#define RT_SPAWN_PINNED UINT32_C(1)

/**
 * For `rt_spawn_opts::flags`: `state_size` bytes are copied from `state` into memory of the task's (zeroes if `state` is
 * NULL), aligned to 16. Poll and drop functions get the copy, which is freed with the task.
 */
#define RT_SPAWN_INLINE UINT32_C(2)

/**
 * Readiness, and interest in it: there is something to read, or to accept.
 */
#define RT_READABLE UINT32_C(1)

/**
 * Readiness, and interest in it: there is room to write, or the connect is decided.
 */
#define RT_WRITABLE (UINT32_C(1) << UINT32_C(1))

/**
 * Readiness, and interest in it: out-of-band data.
 */
#define RT_PRIORITY (UINT32_C(1) << UINT32_C(2))

/**
 * Readiness, and interest in it: an error is pending. Reported to every direction.
 */
#define RT_ERROR (UINT32_C(1) << UINT32_C(3))

/**
 * Readiness only: the peer will send no more. Reported to readers. Survives `rt_clear_ready`.
 */
#define RT_READ_CLOSED (UINT32_C(1) << UINT32_C(4))

/**
 * Readiness only: nothing can be written any more. Reported to writers. Survives `rt_clear_ready`.
 */
#define RT_WRITE_CLOSED (UINT32_C(1) << UINT32_C(5))

/**
 * For `rt_register_fd`: make the descriptor non-blocking.
 */
#define RT_IO_SET_NONBLOCK (UINT32_C(1) << UINT32_C(8))

/**
 * For `rt_register_fd`: the library never closes the descriptor.
 */
#define RT_IO_BORROWED (UINT32_C(1) << UINT32_C(9))

/**
 * An offset: the file's own position, which the operation moves. The only one for what has no positions.
 */
#define RT_OFFSET_CURRENT UINT64_MAX

/**
 * For `rt_timer_interval`: ticks that nobody took in time are taken one after the other.
 */
#define RT_MISSED_BURST UINT32_C(0)

/**
 * For `rt_timer_interval`: ticks that nobody took in time are taken at once; the next one comes when it would have come anyway.
 */
#define RT_MISSED_SKIP UINT32_C(1)

/**
 * For `rt_timer_interval`: ticks that nobody took in time are dropped; the next one comes a period after one was taken.
 */
#define RT_MISSED_DELAY UINT32_C(2)

/**
 * What a poll knows of its surroundings. A task's context is good during the poll that it was given to, on that thread;
 * used outside of it, it gives `-EPERM` where that is detected.
 *
 * Methods: `rt_cx_runtime`, `rt_cx_waker`, `rt_task_self`, `rt_yield`, and every `rt_poll_*` call. Without a task: `rt_cx_new`,
 * `rt_cx_free`.
 */
typedef struct rt_cx rt_cx;

/**
 * What can be chosen when a runtime is made. Set by `rt_config_init`; zero means the default in every field.
 *
 * A program that was compiled with an older, smaller struct keeps working. One with a newer, larger struct works as long
 * as the fields that this library does not know are zero.
 */
typedef struct rt_config {
    /**
     * The size of this struct as the program knows it.
     */
    uint32_t size;
    /**
     * `RT_MULTI_THREAD` or `RT_CURRENT_THREAD`.
     */
    uint32_t flavour;
    /**
     * `RT_ENGINE_AUTO`, `RT_ENGINE_EPOLL` or `RT_ENGINE_URING`. The environment's `ASYNCIO_ENGINE=epoll` overrides it.
     */
    uint32_t engine;
    /**
     * Threads of the multi-thread flavour; 0: as many as CPUs are allowed by the affinity mask and the cgroup's quota.
     */
    uint32_t workers;
    /**
     * The longest time that a worker looks for work before it sleeps, in nanoseconds; it learns whether that pays. 0:
     * 30 microseconds. `RT_SPIN_OFF`: sleep at once. A runtime with more workers than CPUs never spins.
     */
    uint64_t spin_ns;
    /**
     * How many ready results a task may take in one poll; then its calls return `RT_PENDING` and it is polled again
     * after the others. 0: 128. `RT_BUDGET_OFF`: no limit.
     */
    uint32_t poll_budget;
    /**
     * How many tasks are polled between two looks at the driver and at what other threads sent. 0: 61.
     */
    uint32_t event_interval;
    /**
     * How many polls in a row may be of the task that was woken last. 0: 3. `RT_LIFO_OFF`: first in, first out.
     */
    uint32_t lifo_limit;
    /**
     * How many events are taken from the kernel at once. 0: 256.
     */
    uint32_t max_events;
    /**
     * What the threads are called, at most 15 bytes of it. NULL: "asyncio". Copied.
     */
    const char *thread_name;
    /**
     * Bytes of a thread's stack. 0: 2 MiB.
     */
    uint64_t stack_size;
    /**
     * Called on each worker's thread when it begins.
     */
    void (*on_thread_start)(void *arg);
    /**
     * Called on each worker's thread when it ends.
     */
    void (*on_thread_stop)(void *arg);
    /**
     * Called before a worker sleeps. What it wakes or spawns is run first.
     */
    void (*on_park)(void *arg);
    /**
     * Called after a worker slept.
     */
    void (*on_unpark)(void *arg);
    /**
     * The argument of these functions.
     */
    void *hook_arg;
    /**
     * How many operations a worker's ring takes in one round. 0: 256.
     */
    uint32_t ring_entries;
    /**
     * Bytes of a receive buffer. 0: 4096.
     */
    uint32_t buffer_size;
    /**
     * Receive buffers of a worker, at most 32768. Memory is taken as they are used. 0: 1024.
     */
    uint32_t buffer_count;
    /**
     * How many threads there may be for calls that block. They end when they are not used. 0: 64.
     */
    uint32_t blocking_threads;
    /**
     * How many bytes may be queued to be sent on one stream before `rt_send` and its kin refuse more. 0: 1 MiB.
     */
    uint64_t send_limit;
} rt_config;

/**
 * A runtime: workers, their drivers, and the tasks that they run.
 *
 * 0 is never a runtime. A handle that is stale, forged or of another kind gives `-EBADF`, from any thread, also while it is
 * being freed and afterwards.
 *
 * Methods: `rt_new`, `rt_block_on`, `rt_run`, `rt_turn`, `rt_stop`, `rt_event_fd`, `rt_next_deadline`, `rt_shutdown`,
 * `rt_free`, `rt_describe`, `rt_metrics`, `rt_spawn`, `rt_spawn_with`, `rt_register_fd`, `rt_cx_new`.
 *
 * Threads: all methods may be called from any thread, but the ones that drive a current-thread runtime, which belong to
 * the thread that drove it first. Calls that block give `-EDEADLK` inside the runtime's own polls, wakers, hooks and drop
 * functions.
 */
typedef uint64_t rt_runtime;

/**
 * Polls a task: does what can be done without waiting. Returns the result, which ends the task, or `RT_PENDING` after some
 * `rt_poll_*` call returned that (or after the task arranged for `rt_task_wake` or its waker to be called).
 *
 * It is called by one thread at a time, not always the same, never before the call before it returned, with no lock held.
 * `cx` is good during the call, on that thread. It may be called without need.
 */
typedef int64_t (*rt_poll_fn)(rt_cx *cx, void *state);

/**
 * Counters of a runtime, from its beginning. Set `size`, then call `rt_metrics`.
 */
typedef struct rt_metrics_data {
    /**
     * The size of this struct as the program knows it.
     */
    uint32_t size;
    /**
     * How many workers there are.
     */
    uint32_t workers;
    /**
     * Tasks that have not ended.
     */
    uint64_t tasks_live;
    /**
     * Tasks that a shutdown gave up.
     */
    uint64_t tasks_abandoned;
    /**
     * Polls of tasks.
     */
    uint64_t polls;
    /**
     * Tasks that a worker took from another.
     */
    uint64_t steals;
    /**
     * How often a worker slept.
     */
    uint64_t parks;
    /**
     * How often a sleeping worker had to be woken through its descriptor.
     */
    uint64_t unparks;
    /**
     * Readiness events that were delivered.
     */
    uint64_t events;
    /**
     * How often looking for work before sleeping found some.
     */
    uint64_t spins_paid;
    /**
     * Descriptors that are registered.
     */
    uint64_t ios_live;
    /**
     * Operations of tasks that have not ended.
     */
    uint64_t ops_live;
    /**
     * Operations that would not end when the runtime did: their memory was left to the kernel.
     */
    uint64_t ops_abandoned;
    /**
     * Receive buffers that the program holds: of all runtimes, for they may outlive theirs.
     */
    uint64_t leases_live;
    /**
     * Threads for calls that block.
     */
    uint64_t blocking_threads;
    /**
     * Timers, deadlines of operations among them.
     */
    uint64_t timers_live;
} rt_metrics_data;

/**
 * Drops a task's state: called exactly once, when the task has returned or was aborted, never while it is polled, before
 * its end can be joined. Not called for tasks that a shutdown gave up.
 *
 * It runs on some worker (a pinned task's on its own), with no lock held, and may call anything that does not block.
 */
typedef void (*rt_drop_fn)(void *state);

/**
 * A task: a poll function with its state, run by a runtime until it returns a result.
 *
 * 0 is never a task. The handle is good from the spawn until the task ended and was joined or detached; then it gives
 * `-EBADF`, from any thread and for ever.
 *
 * Methods: `rt_poll_join`, `rt_join`, `rt_abort`, `rt_detach`, `rt_task_wake`, `rt_task_name`. In a poll: `rt_task_self`,
 * `rt_yield`.
 *
 * Threads: any thread may call any method.
 */
typedef uint64_t rt_task;

/**
 * How a task is spawned. Set by `rt_spawn_opts_init`; zero means the default in every field but `poll`.
 */
typedef struct rt_spawn_opts {
    /**
     * The size of this struct as the program knows it.
     */
    uint32_t size;
    /**
     * `RT_SPAWN_PINNED`, `RT_SPAWN_INLINE`.
     */
    uint32_t flags;
    /**
     * Polls the task.
     */
    rt_poll_fn poll;
    /**
     * Given to `poll` and `drop`.
     */
    void *state;
    /**
     * How large the state is, for `RT_SPAWN_INLINE`.
     */
    size_t state_size;
    /**
     * Drops the state. May be NULL.
     */
    rt_drop_fn drop;
    /**
     * With `RT_SPAWN_PINNED`: the worker of this pinned task, of the same runtime.
     */
    rt_task near;
    /**
     * What the task is called, for `rt_task_name`. Copied. May be NULL.
     */
    const char *name;
} rt_spawn_opts;

/**
 * A waker: two words that belong to this library, passed by pointer. A waker of a task keeps the task's memory, not its
 * life. A zeroed one is no waker; it may be dropped.
 *
 * Methods: `rt_waker_clone`, `rt_waker_wake`, `rt_waker_wake_by_ref`, `rt_waker_drop`, `rt_waker_will_wake`. Made by
 * `rt_waker_clone` or `rt_waker_new`; borrowed from `rt_cx_waker`.
 *
 * Threads: any thread may use a waker, but one that consumes it must be its only user. Do not copy the words.
 */
typedef struct rt_waker {
    /**
     * The library's.
     */
    size_t opaque[2];
} rt_waker;

/**
 * How a program's own waker works. The table must exist as long as any waker that was made of it. The functions are
 * called on any thread, several at once, with no lock held.
 */
typedef struct rt_waker_vtable {
    /**
     * Makes another reference: returns its data.
     */
    void *(*clone)(void *data);
    /**
     * Wakes, and gives up the reference.
     */
    void (*wake)(void *data);
    /**
     * Wakes, and keeps the reference.
     */
    void (*wake_by_ref)(void *data);
    /**
     * Gives up the reference.
     */
    void (*drop)(void *data);
} rt_waker_vtable;

/**
 * A registered descriptor.
 *
 * 0 is never one. The handle is good until `rt_close`, `rt_deregister`, `rt_forget` or `rt_free`; then it gives `-EBADF`, from
 * any thread and for ever, also if the number of the descriptor is in use again.
 *
 * Methods: `rt_poll_ready`, `rt_try_ready`, `rt_clear_ready`, `rt_poll_level`, `rt_poll_try`, `rt_io_fd`, `rt_io_rehome`,
 * `rt_poll_read` and its kin; `rt_close`, `rt_deregister`, `rt_forget`.
 *
 * Threads: any thread may call any method. Any number of tasks may wait for the same descriptor and direction; an event
 * wakes them all.
 */
typedef uint64_t rt_io;

/**
 * Readiness as it was seen.
 */
typedef struct rt_ready {
    /**
     * `RT_READABLE` and the others, of what was asked for.
     */
    uint32_t bits;
    /**
     * When it was seen; for `rt_clear_ready`.
     */
    uint32_t tick;
} rt_ready;

/**
 * Makes a call that does not block on `fd`, and returns what it returned, or its negative errno. `-EAGAIN` means: wait and
 * try again.
 */
typedef int64_t (*rt_attempt_fn)(int fd, void *arg);

/**
 * An operation: work that a task submits and whose outcome it takes later. On io_uring the kernel does it; on epoll it is
 * tried, waits for readiness, or blocks a thread of the library's. Results, cancellation and the end of streams are the
 * same.
 *
 * An operation belongs to the task in whose poll it was submitted. The memory that it was given (buffers, messages and all
 * that they point to) is the library's until the outcome was taken, or until the task's drop function runs. Paths, socket
 * addresses and arrays of `struct iovec` are copied.
 *
 * A task that ends with operations going on, however it ends, has them cancelled; its drop function runs after the last of
 * them, and its join is resolved after that. What they produced, a connection or an open file, is closed. A task with
 * operations stays on its worker.
 *
 * Closing a descriptor cancels the operations on it; they keep it open until they have ended. `rt_deregister` gives
 * `-EBUSY` while there are any. Beside an operation that reads, `rt_poll_read` and its kin give `-EBUSY`; beside sends that
 * are queued, `rt_poll_write` and its kin do.
 *
 * 0 is never an operation. The handle is good until the outcome was taken.
 *
 * Methods: `rt_poll_op`, `rt_cancel`, `rt_op_deadline`, `rt_op_forget`. Of the task's operations as a whole: `rt_poll_quiesce`.
 */
typedef uint64_t rt_op;

/**
 * Takes the outcome of an operation that its task let go of.
 */
typedef void (*rt_done_fn)(void *arg, int64_t outcome);

/**
 * Received bytes in a buffer of the library's, leased until `rt_buf_release` or `rt_send_buf`. The memory is the program's to
 * read and write meanwhile. A lease may outlive its operation, its connection, its task and its runtime.
 */
typedef struct rt_buf {
    /**
     * The lease's handle.
     */
    uint64_t lease;
    /**
     * The bytes.
     */
    void *ptr;
    /**
     * How many there are.
     */
    size_t len;
} rt_buf;

/**
 * Constant bytes that are counted by reference, to be sent to many. 0 is never one.
 *
 * Methods: `rt_blob_new`, `rt_blob_free`, `rt_send_blob`.
 */
typedef uint64_t rt_blob;

/**
 * A set: waits for many operations and tasks at once. A member says by its key that it is ready, and leaves the set; one
 * that yields more, an operation with many results, is added again. What a member yields is taken by its own poll: the
 * set neither owns nor keeps alive what it waits for. The cost of a member does not depend on how many there are.
 *
 * 0 is never a set. The handle is good until `rt_set_free`, which may come after the runtime was freed.
 *
 * Methods: `rt_set_add`, `rt_poll_set`, `rt_set_free`. Made by `rt_set_new`.
 *
 * Threads: any thread may call any method, also several at once.
 */
typedef uint64_t rt_set;

/**
 * A timer: fires once at its time, or again and again with a period. A timer is never early, and late by what a tick of 16
 * microseconds, the scheduler and the system add. Those of one worker with equal times fire in the order in which they were
 * started: all of a current-thread runtime, and all that were started on the same worker.
 *
 * 0 is never a timer. The handle is good until `rt_timer_cancel`, or until its runtime is freed.
 *
 * Methods: `rt_timer_reset`, `rt_timer_cancel`, `rt_poll_timer`; `rt_set_add` takes it, too. Made by `rt_timer_start` and
 * `rt_timer_interval`. Without a handle of one's own: `rt_poll_sleep`, `rt_poll_deadline`, `rt_call_at`.
 *
 * Threads: any thread may call any method. On the worker that a timer was started on they take no lock.
 */
typedef uint64_t rt_timer;

/**
 * What `rt_call_at` calls.
 */
typedef void (*rt_call_fn)(void *arg);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * True for errors only: not for results, and not for `RT_PENDING`.
 *
 * Any thread; also in signal handlers.
 */
bool rt_failed(int64_t result);

/**
 * What a result means, in words that begin with the error's name. The text is constant and never freed.
 *
 * Knows every value: results that are no errors, `RT_PENDING`, the library's own codes, and those of the system.
 * Any thread.
 */
const char *rt_strerror(int64_t result);

/**
 * The library's version, such as "0.1.0". The text is constant.
 *
 * Any thread.
 */
const char *rt_version(void);

/**
 * Sets every field to its default. Call it as `rt_config_init(&config, sizeof config)`.
 *
 * Returns 0, or `-EINVAL` for NULL or a size that is too small. Any thread.
 *
 * # Safety
 * `config` has `size` writable bytes.
 */
int64_t rt_config_init(rt_config *config, size_t size);

/**
 * Makes a runtime. `config` may be NULL for all defaults.
 *
 * Returns 0 and the handle in `*out`, which the caller must give to `rt_free` once. On failure `*out` is 0, nothing was
 * made, and `why` (which may be NULL) holds a sentence that says what is missing: `-EINVAL` for a bad configuration,
 * for an engine that cannot be had what the system said, such as `-ENOSYS`, `-EPERM` or `-EINVAL` (a kernel that is too old);
 * `-EMFILE`, `-ENOMEM`, `-EAGAIN` for threads that cannot be made, `-EPERM` in a
 * forked child.
 *
 * Any thread. Does not block. Make runtimes after privileges were dropped.
 *
 * # Safety
 * `config` is NULL or as its `size` says; `out` is writable; `why` has `why_len` writable bytes.
 */
int64_t rt_new(const rt_config *config,
               rt_runtime *out,
               char *why,
               size_t why_len);

/**
 * Runs a poll function as a task until it returns something other than `RT_PENDING`, which is then the result here.
 *
 * The task is pinned: on a worker of the multi-thread flavour, while this thread sleeps; on this thread in the
 * current-thread flavour, together with all other tasks. `state` stays the caller's.
 *
 * The call's own errors share the channel: `-EBADF`; `-EINVAL` without a poll function; `-EDEADLK` inside of the runtime;
 * `-EPERM` on a thread that does not drive this current-thread runtime; `-ESHUTDOWN`; `-ECANCELED` if a shutdown ended the
 * task. It does not return while the poll function is inside of a call, whatever a shutdown decided. The task cannot be
 * joined or detached by others.
 *
 * Any thread. Blocks.
 *
 * # Safety
 * `poll` may be called with `state`, on any thread, until this returns.
 */
int64_t rt_block_on(rt_runtime rt,
                    rt_poll_fn poll,
                    void *state);

/**
 * Runs until `rt_stop`, or until no task is left. Returns how many tasks are left.
 *
 * In the current-thread flavour this thread runs the tasks. In the multi-thread flavour the workers do, and this thread
 * waits. An `rt_stop` that came before counts.
 *
 * Errors: `-EBADF`, `-EDEADLK` inside of the runtime, `-EPERM` on a thread that does not drive this current-thread
 * runtime, `-ESHUTDOWN`. Any thread. Blocks.
 */
int64_t rt_run(rt_runtime rt);

/**
 * One turn of a current-thread runtime: runs what is ready; if nothing is, waits for events, for at most `timeout_ns`, and
 * runs what they woke.
 *
 * Returns how many tasks were polled, which may be none: a signal ends the wait, too. Errors: `-EBADF`, `-EDEADLK` inside
 * of the runtime, `-EPERM` in the multi-thread flavour or on another thread than the one that drives it, `-ESHUTDOWN`.
 * Blocks for the timeout at most.
 */
int64_t rt_turn(rt_runtime rt,
                uint64_t timeout_ns);

/**
 * Makes the `rt_run` that is going on return, or else the next one. Of several, one returns.
 *
 * Returns 0, or `-EBADF`. Any thread, also inside of the runtime. Does not block.
 */
int64_t rt_stop(rt_runtime rt);

/**
 * For a current-thread runtime inside of another loop: a descriptor that poll(2), epoll and their kin report readable
 * whenever `rt_turn(rt, 0)` has something to do: events, wakes from other threads, tasks that are ready, deadlines.
 *
 * The descriptor is the runtime's: do not close it, read it or change it. Wait for it to be readable, level-triggered,
 * and turn.
 *
 * Errors: `-EBADF`; `-EPERM` in the multi-thread flavour. Any thread. Does not block.
 */
int64_t rt_event_fd(rt_runtime rt);

/**
 * When the runtime wants to be turned even if no event comes, on the clock of `rt_now`; `RT_NEVER` if it does not, and
 * for a stale handle. `rt_event_fd` becomes readable then as well.
 *
 * Any thread. Does not block.
 */
uint64_t rt_next_deadline(rt_runtime rt);

/**
 * Ends a runtime's work: refuses new tasks (`-ESHUTDOWN`), wakes everybody who waits for a descriptor (their polls give
 * `-ESHUTDOWN`), aborts every task, and waits until their drop functions have run, for at most `timeout_ns`.
 *
 * The workers of the multi-thread flavour are given 10 ms at least.
 *
 * Returns how many tasks were given up: those that were inside of their poll or drop function when the time was over, and
 * pinned ones whose worker is stuck in such a task. Their drop functions will not start, what they own is never freed,
 * and they are counted in `rt_metrics`. All others have ended, and can be joined at once. A second call returns the same
 * number.
 *
 * Errors: `-EBADF`, `-EDEADLK` inside of the runtime, `-EPERM` on a thread that does not drive this current-thread
 * runtime. Any thread. Blocks for the timeout at most.
 */
int64_t rt_shutdown(rt_runtime rt,
                    uint64_t timeout_ns);

/**
 * Frees a runtime. Does `rt_shutdown(rt, RT_NEVER)` first unless that was done, closes the descriptors that are still
 * registered and owned, and ends the threads. Then every handle of the runtime is stale. A thread that is stuck in a
 * task which a shutdown gave up is left alone.
 *
 * Returns 0, also for the handle 0. Errors, after which nothing has changed: `-EBADF`, `-EDEADLK` inside of the runtime,
 * `-EPERM` on a thread that does not drive this current-thread runtime. Any thread. Blocks.
 */
int64_t rt_free(rt_runtime rt);

/**
 * Describes the runtime in one line: its flavour, its workers, its engine and why it is that one.
 *
 * Writes at most `len` bytes with the NUL to `out`, and returns the length of the whole text without it; `-EBADF`;
 * `-EINVAL` for NULL with a length. Any thread. Does not block.
 *
 * # Safety
 * `out` is NULL or has `len` writable bytes.
 */
int64_t rt_describe(rt_runtime rt,
                    char *out,
                    size_t len);

/**
 * Fills in the counters, as many as fit into the `size` that the caller set.
 *
 * Returns 0; `-EBADF`; `-EINVAL` for NULL or a bad size. Any thread. Does not block. The counters are read one after the
 * other while the runtime runs.
 *
 * # Safety
 * `out` has as many writable bytes as its `size` says.
 */
int64_t rt_metrics(rt_runtime rt,
                   rt_metrics_data *out);

/**
 * Spawns a task. It may run, and end, before this returns; `*out` is written before that. With `out` NULL the task is
 * detached from the start.
 *
 * Returns 0; the state is then the task's until `drop` (which may be NULL) was called with it. On failure the caller
 * keeps the state, and `drop` is not called: `-EBADF`, `-EINVAL` without a poll function, `-ESHUTDOWN`, `-ENOMEM`.
 *
 * Any thread. Does not block.
 *
 * # Safety
 * `poll` and `drop` may be called with `state` on any thread, one call at a time. `out` is NULL or writable.
 */
int64_t rt_spawn(rt_runtime rt,
                 rt_poll_fn poll,
                 void *state,
                 rt_drop_fn drop,
                 rt_task *out);

/**
 * Sets every field to its default. Call it as `rt_spawn_opts_init(&opts, sizeof opts)`.
 *
 * Returns 0, or `-EINVAL` for NULL or a size that is too small. Any thread.
 *
 * # Safety
 * `opts` has `size` writable bytes.
 */
int64_t rt_spawn_opts_init(rt_spawn_opts *opts, size_t size);

/**
 * Spawns a task with options. Otherwise as `rt_spawn`.
 *
 * Further errors: `-EINVAL` for unknown flags, a bad size, or `near` a task of another runtime; `-EBADF` for a stale `near`.
 *
 * # Safety
 * As for `rt_spawn`; `opts` is as its `size` says, and with `RT_SPAWN_INLINE` the state is NULL or has `state_size` bytes.
 */
int64_t rt_spawn_with(rt_runtime rt,
                      const rt_spawn_opts *opts,
                      rt_task *out);

/**
 * Waits, in a poll, for a task to end.
 *
 * Returns 0 when it has: `*result` (which may be NULL) is what it returned, or `-ECANCELED` if it was aborted, and the
 * handle is spent. `RT_PENDING`: not yet. Several tasks may wait; all are woken, one gets the result, the others `-EBADF`.
 *
 * Errors: `-EBADF`, also after `rt_detach`; `-EDEADLK` for the task itself; `-EINVAL`, `-EPERM` for the context.
 *
 * # Safety
 * `cx` is the context of this poll; `result` is NULL or writable.
 */
int64_t rt_poll_join(rt_cx *cx,
                     rt_task task,
                     int64_t *result);

/**
 * Waits, on a thread, for a task to end: as `rt_poll_join`, for at most `timeout_ns`.
 *
 * On a current-thread runtime that this thread drives, or that nobody has driven yet, the call drives it.
 *
 * Returns 0 and the result; `-ETIME`: it still runs, and the handle is still good; `-EBADF`; `-EDEADLK` inside of the
 * task's runtime. Any thread. Blocks.
 *
 * # Safety
 * `result` is NULL or writable.
 */
int64_t rt_join(rt_task task,
                uint64_t timeout_ns,
                int64_t *result);

/**
 * Asks a task to end: it is not polled again, and its drop function runs. A poll that is going on is finished first; if
 * it returns a result, the result wins.
 *
 * Returns 0, also if the task has ended and waits for its join; `-EBADF`. Any thread, also from the task itself. Does not
 * block, and does not wait for the end.
 */
int64_t rt_abort(rt_task task);

/**
 * Gives up the right to join. The task goes on; its handle stays good for `rt_task_wake` and `rt_abort` until it ends.
 *
 * Returns 0, also for the handle 0; `-EBADF` for a task that was detached or joined before. Tasks that wait in
 * `rt_poll_join` are woken. Any thread. Does not block.
 */
int64_t rt_detach(rt_task task);

/**
 * Wakes a task: it is polled at least once after this, and that poll sees what this thread wrote before. Wakes that come
 * before that poll count as one.
 *
 * Returns 0, also if the task has ended and waits for its join; `-EBADF`. Any thread. Does not block. Not for signal
 * handlers.
 */
int64_t rt_task_wake(rt_task task);

/**
 * The task whose poll this is: the handle that its spawn returned. 0 outside of tasks, and for a bad context.
 *
 * Does not block.
 *
 * # Safety
 * `cx` is the context of this poll.
 */
rt_task rt_task_self(rt_cx *cx);

/**
 * What a task is called.
 *
 * Writes at most `len` bytes with the NUL to `out`, and returns the length of the whole name without it, 0 if it has none;
 * `-EBADF`. Any thread. Does not block.
 *
 * # Safety
 * `out` is NULL or has `len` writable bytes.
 */
int64_t rt_task_name(rt_task task,
                     char *out,
                     size_t len);

/**
 * Lets all others run first: wakes the task itself and returns `RT_PENDING`, which the poll function must return.
 *
 * It would never be ready, so it is not to be awaited: `RT_YIELD` of `asyncio_await.h` is made for that. Errors: `-EINVAL`,
 * `-EPERM` for the context. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll.
 */
int64_t rt_yield(rt_cx *cx);

/**
 * The context of the poll that goes on on this thread, the innermost one; NULL outside of polls.
 *
 * Any thread. Does not block.
 */
rt_cx *rt_cx_current(void);

/**
 * The runtime that polls; 0 for a bad context.
 *
 * Does not block.
 *
 * # Safety
 * `cx` is the context of this poll.
 */
rt_runtime rt_cx_runtime(rt_cx *cx);

/**
 * The waker of the task that is polled. Borrowed: good during the poll; clone it to keep it. NULL for a bad context.
 *
 * Does not block.
 *
 * # Safety
 * `cx` is the context of this poll.
 */
const rt_waker *rt_cx_waker(rt_cx *cx);

/**
 * Makes a context for polls outside of tasks: when a poll with it returned `RT_PENDING`, the waker will be called. The
 * waker is cloned. What such polls wait for is told apart by context.
 *
 * Returns 0 and the context in `*out`, to be given to `rt_cx_free` once; `-EBADF`, `-EINVAL`, `-ENOMEM`. One thread at a time
 * may use a context. Any thread. Does not block.
 *
 * # Safety
 * `waker` is a waker; `out` is writable.
 */
int64_t rt_cx_new(rt_runtime rt,
                  const rt_waker *waker,
                  rt_cx **out);

/**
 * Frees a context that `rt_cx_new` made, and drops its waker. What still waits with it may call the waker's clone once
 * more.
 *
 * Returns 0, also for NULL; `-EPERM` for a context that `rt_cx_new` did not make, or that was freed. Any thread, not while
 * a poll with it goes on. Does not block.
 *
 * # Safety
 * `cx` is NULL or came from this library.
 */
int64_t rt_cx_free(rt_cx *cx);

/**
 * Makes another waker of the same task. `*out` must be woken or dropped once.
 *
 * Returns 0; `-EINVAL` for NULL or a zeroed waker. Any thread. Does not block.
 *
 * # Safety
 * `w` is a waker; `out` is writable.
 */
int64_t rt_waker_clone(const rt_waker *w, rt_waker *out);

/**
 * Wakes, and consumes the waker: `*w` is zeroed.
 *
 * Returns 0; `-EINVAL` for NULL or a zeroed waker. Any thread. Does not block. Not for signal handlers.
 *
 * # Safety
 * `w` is a waker that the caller owns.
 */
int64_t rt_waker_wake(rt_waker *w);

/**
 * Wakes, and keeps the waker.
 *
 * Returns 0; `-EINVAL` for NULL or a zeroed waker. Any thread. Does not block. Not for signal handlers.
 *
 * # Safety
 * `w` is a waker.
 */
int64_t rt_waker_wake_by_ref(const rt_waker *w);

/**
 * Drops a waker: `*w` is zeroed.
 *
 * Returns 0, also for a zeroed waker; `-EINVAL` for NULL. Any thread. Does not block.
 *
 * # Safety
 * `w` is zeroed, or a waker that the caller owns.
 */
int64_t rt_waker_drop(rt_waker *w);

/**
 * True if both wake the same. False may be a mistake, true never is; false for NULL and zeroed wakers.
 *
 * Any thread. Does not block.
 *
 * # Safety
 * Both are NULL, zeroed, or wakers.
 */
bool rt_waker_will_wake(const rt_waker *a,
                        const rt_waker *b);

/**
 * Makes a waker of the program's own functions. It takes the reference that `data` is: one of `wake` and `drop` is called
 * with it, once.
 *
 * Returns 0; `-EINVAL` for NULL or a table with a function missing: `data` is then still the caller's. Any thread. Does
 * not block.
 *
 * # Safety
 * The functions may be called with `data` on any thread; `out` is writable.
 */
int64_t rt_waker_new(const rt_waker_vtable *vtable,
                     void *data,
                     rt_waker *out);

/**
 * Registers a descriptor with a runtime. `flags` holds the interest (`RT_READABLE`, `RT_WRITABLE`, `RT_PRIORITY`, `RT_ERROR`)
 * and `RT_IO_SET_NONBLOCK`, `RT_IO_BORROWED`. What is not registered for cannot be waited for. Without interest, the
 * descriptor is for calls that need no readiness.
 *
 * Returns 0 and the handle in `*out`; the descriptor is then the library's, unless it is borrowed: closed by `rt_close` and
 * `rt_free`, and by nobody else. On failure it stays the caller's: `-EBADF` for a closed descriptor or a stale runtime;
 * `-EPERM` for a regular file or a directory, which have no readiness; `-EEXIST` if the runtime has this descriptor already
 * (not if that one was closed behind the library); `-EINVAL` for NULL or unknown bits; `-ENOMEM`; `-ENOSPC` over the system's
 * limit of watches.
 *
 * A runtime that shuts down accepts it, and the polls give `-ESHUTDOWN`. Any thread. Does not block.
 *
 * # Safety
 * `out` is writable.
 */
int64_t rt_register_fd(rt_runtime rt,
                       int fd,
                       uint32_t flags,
                       rt_io *out);

/**
 * Waits, in a poll, until a descriptor is ready for any of `interest`.
 *
 * Returns 0 and what is ready in `*out`: only bits of what was asked for, and `RT_ERROR`, `RT_READ_CLOSED`, `RT_WRITE_CLOSED`
 * where they concern it. Readiness stays until a call said `-EAGAIN` and the caller says so by `rt_clear_ready`; a caller
 * that waits without that gets the same answer again. `RT_PENDING`: not ready, or the task's budget is spent.
 *
 * Errors: `-EBADF`, `-ESHUTDOWN`; `-EINVAL` for NULL, and for an interest that was not registered; `-EPERM` for the context.
 *
 * # Safety
 * `cx` is the context of this poll; `out` is writable.
 */
int64_t rt_poll_ready(rt_cx *cx,
                      rt_io io,
                      uint32_t interest,
                      rt_ready *out);

/**
 * What is ready now, without waiting: `out->bits` is 0 if nothing is. What was not registered for is never ready.
 *
 * Returns 0; `-EBADF`, `-ESHUTDOWN`; `-EINVAL` for NULL and unknown bits. Any thread. Does not block.
 *
 * # Safety
 * `out` is writable.
 */
int64_t rt_try_ready(rt_io io,
                     uint32_t interest,
                     rt_ready *out);

/**
 * Takes readiness back after a call said `-EAGAIN`: `seen` is what the poll returned, or a part of its bits. If there was an
 * event since, nothing changes. `RT_READ_CLOSED` and `RT_WRITE_CLOSED` stay.
 *
 * Returns 0; `-EBADF`; `-EINVAL` for unknown bits. Any thread. Does not block.
 */
int64_t rt_clear_ready(rt_io io,
                       rt_ready seen);

/**
 * As `rt_poll_ready`, but asks the kernel each time: for foreign libraries, which do not read until `-EAGAIN` and expect to
 * be called again while anything is left. No `rt_clear_ready` is needed.
 *
 * # Safety
 * As for `rt_poll_ready`.
 */
int64_t rt_poll_level(rt_cx *cx,
                      rt_io io,
                      uint32_t interest,
                      rt_ready *out);

/**
 * Any call that does not block, in a poll: waits until the descriptor is ready for `interest`, then calls
 * `attempt(fd, arg)`; on `-EAGAIN` it takes that readiness back and waits again, on `-EINTR` it tries again.
 *
 * Returns what `attempt` returned, 0 or more, or its error; `RT_PENDING`. While `attempt` runs, the descriptor cannot be
 * closed by others. Errors of its own are those of `rt_poll_ready`.
 *
 * # Safety
 * `cx` is the context of this poll; `attempt` may be called with `arg`, on this thread, until this returns.
 */
int64_t rt_poll_try(rt_cx *cx,
                    rt_io io,
                    uint32_t interest,
                    rt_attempt_fn attempt,
                    void *arg);

/**
 * Ends a registration. The descriptor stays open and is the caller's again. Waiters wake, and their polls give `-EBADF`.
 *
 * Returns 0, also for the handle 0, when no call of another thread uses the descriptor any more. Errors: `-EBADF`, also if
 * the descriptor was closed behind the library (the registration ends all the same); `-EDEADLK` inside of an attempt on it,
 * which changes nothing. Any thread. Blocks while other threads are inside of calls on this descriptor, none of which
 * block but attempts of the program's own.
 */
int64_t rt_deregister(rt_io io);

/**
 * Closes a descriptor: the handle is stale at once, waiters wake, and their polls give `-EBADF`. close(2) is called by the last
 * call that uses the descriptor; for a borrowed one it is not called.
 *
 * Returns 0, also for the handle 0. `-EBADF`, also if the descriptor was closed behind the library: the registration ends,
 * and the number, which may be a stranger's by now, is left alone. Any thread. Does not block.
 */
int64_t rt_close(rt_io io);

/**
 * Ends the registration of a descriptor that was closed behind the library, and touches no descriptor.
 *
 * Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_forget(rt_io io);

/**
 * The number of the descriptor. It is good as long as nobody closes it.
 *
 * Returns it, or `-EBADF`. Any thread. Does not block.
 */
int64_t rt_io_fd(rt_io io);

/**
 * Moves a descriptor to the driver of the worker that polls, so that its events come to where its task is.
 *
 * Returns 0; `-EBADF`; `-EPERM` for the context, and for one that is not a task's of the descriptor's runtime. Does not
 * block.
 *
 * # Safety
 * `cx` is the context of this poll.
 */
int64_t rt_io_rehome(rt_cx *cx,
                     rt_io io);

/**
 * Reads, in a poll, into `buf`: waits until there is something, then reads at most `n` bytes.
 *
 * Returns how many bytes were read; 0 at the end of the stream; `RT_PENDING`, after which `buf` is untouched and the call is to
 * be repeated. Errors: the system's, such as `-ECONNRESET`; `-EBADF`, `-ESHUTDOWN`; `-EINVAL` for NULL, for a descriptor that
 * blocks, or that is not registered for `RT_READABLE`; `-EPERM` for the context. `-EAGAIN` and `-EINTR` are never returned.
 *
 * A short read on a TCP stream counts as having read everything. (With kernel TLS on it, use `rt_poll_try` instead, for
 * there a read ends with its record.) Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `buf` has `n` writable bytes.
 */
int64_t rt_poll_read(rt_cx *cx,
                     rt_io io,
                     void *buf,
                     size_t n);

/**
 * Writes, in a poll, from `buf`: waits until there is room, then writes at most `n` bytes.
 *
 * Returns how many bytes were written, which may be fewer; `RT_PENDING`, after which nothing was written and the call is to be
 * repeated. Errors as for `rt_poll_read`, with `RT_WRITABLE`; `-EPIPE` never comes with a SIGPIPE.
 *
 * # Safety
 * `cx` is the context of this poll; `buf` has `n` readable bytes.
 */
int64_t rt_poll_write(rt_cx *cx,
                      rt_io io,
                      const void *buf,
                      size_t n);

/**
 * Writes, in polls, all `n` bytes of `buf`. `*off`, which the caller keeps and sets to 0 before the first call, says how many
 * went.
 *
 * Returns `n` when all went, and resets `*off` to 0; `RT_PENDING`. On an error `*off` says how much went before. Errors as for
 * `rt_poll_write`; `-EINVAL` also for an `*off` beyond `n`.
 *
 * # Safety
 * `cx` is the context of this poll; `buf` has `n` readable bytes, the same in each call; `off` is writable.
 */
int64_t rt_poll_write_all(rt_cx *cx,
                          rt_io io,
                          const void *buf,
                          size_t n,
                          size_t *off);

/**
 * As `rt_poll_read`, into several buffers.
 *
 * # Safety
 * `cx` is the context of this poll; `iov` has `iovcnt` entries of writable memory.
 */
int64_t rt_poll_readv(rt_cx *cx, rt_io io, const struct iovec *iov, int iovcnt);

/**
 * As `rt_poll_write`, from several buffers.
 *
 * # Safety
 * `cx` is the context of this poll; `iov` has `iovcnt` entries of readable memory.
 */
int64_t rt_poll_writev(rt_cx *cx, rt_io io, const struct iovec *iov, int iovcnt);

/**
 * recvmsg(2) in a poll, with its `flags`; `MSG_OOB` waits for `RT_PRIORITY`. The call never blocks, whatever the descriptor does.
 *
 * Returns how many bytes came, with `msg` filled in; `RT_PENDING`. Errors as for `rt_poll_read`.
 *
 * # Safety
 * `cx` is the context of this poll; `msg` is a message to receive into.
 */
int64_t rt_poll_recvmsg(rt_cx *cx,
                        rt_io io,
                        struct msghdr *msg,
                        int flags);

/**
 * sendmsg(2) in a poll, with its `flags`. The call never blocks, whatever the descriptor does, and raises no SIGPIPE.
 *
 * Returns how many bytes went, which may be fewer; `RT_PENDING`. Errors as for `rt_poll_write`.
 *
 * # Safety
 * `cx` is the context of this poll; `msg` is a message to send.
 */
int64_t rt_poll_sendmsg(rt_cx *cx,
                        rt_io io,
                        const struct msghdr *msg,
                        int flags);

/**
 * Accepts, in a poll, one connection, and registers it: non-blocking, close-on-exec, for `RT_READABLE | RT_WRITABLE`, owned, with
 * the listener's runtime, on the worker that polls.
 *
 * Returns 0 and the connection in `*out`, which the caller must close; `RT_PENDING`. A connection that its peer gave up while it
 * was queued is passed over.
 *
 * Errors as for `rt_poll_read`. `-EMFILE`, `-ENFILE`, `-ENOBUFS`, `-ENOMEM` are reported once; the next call is pending until
 * the library closed a descriptor, another connection arrived, or 100 ms went by, so that a caller which just tries again
 * does not spin.
 *
 * # Safety
 * `cx` is the context of this poll; `out` is writable.
 */
int64_t rt_poll_accept(rt_cx *cx,
                       rt_io listener,
                       rt_io *out);

/**
 * Connects a socket, in polls with the same address until one is ready.
 *
 * Returns 0 when it is connected; `RT_PENDING`. Errors: the system's, such as `-ECONNREFUSED` and `-ETIMEDOUT`; `-EAGAIN` for a
 * Unix socket whose listener's queue is full, for which there is no event; else as for `rt_poll_write`. A close in the middle
 * ends the attempt: `-EBADF`.
 *
 * # Safety
 * `cx` is the context of this poll; `addr` has `len` readable bytes.
 */
int64_t rt_poll_connect(rt_cx *cx,
                        rt_io io,
                        const struct sockaddr *addr,
                        socklen_t len);

/**
 * Submits: accept one connection. Outcome: the connection, an `rt_io` (which is never negative as an `int64_t`): non-blocking,
 * close-on-exec, for `RT_READABLE | RT_WRITABLE`, owned. Errors as for `rt_poll_accept`, but that each `-EMFILE` is one.
 *
 * Returns 0, and the operation in `*out`. On failure nothing was submitted, and `*out` is 0: `-EBADF`; `-EINVAL` for NULL, or
 * for a descriptor that blocks; `-EPERM` outside of a task's poll, or for another runtime's descriptor; `-ESHUTDOWN`;
 * `-ENOMEM`. In a poll. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `out` is writable.
 */
int64_t rt_submit_accept(rt_cx *cx,
                         rt_io listener,
                         rt_op *out);

/**
 * Submits: connect. Outcome: 0, or the system's error. Otherwise as `rt_submit_accept`.
 *
 * # Safety
 * `cx` is the context of this poll; `addr` has `len` readable bytes; `out` is writable.
 */
int64_t rt_submit_connect(rt_cx *cx,
                          rt_io io,
                          const struct sockaddr *addr,
                          socklen_t len,
                          rt_op *out);

/**
 * Submits: receive into `buf`, with the `flags` of recv(2). Outcome: how many bytes came, 0 at the end of the stream, or the
 * system's error. Otherwise as `rt_submit_accept`.
 *
 * # Safety
 * `cx` is the context of this poll; `buf` has `n` writable bytes until the operation is over; `out` is writable.
 */
int64_t rt_submit_recv(rt_cx *cx,
                       rt_io io,
                       void *buf,
                       size_t n,
                       int flags,
                       rt_op *out);

/**
 * Submits: send all of `buf`, with the `flags` of send(2). Outcome: `n`, or an error. Otherwise as `rt_submit_accept`.
 *
 * On a stream it goes after everything that was submitted or given to `rt_send` before, by whomever. One that is cancelled
 * before any of it went leaves no trace; one that was cut short makes later sends fail with `-EPIPE`. No SIGPIPE is raised.
 *
 * # Safety
 * `cx` is the context of this poll; `buf` has `n` readable bytes until the operation is over; `out` is writable.
 */
int64_t rt_submit_send(rt_cx *cx,
                       rt_io io,
                       const void *buf,
                       size_t n,
                       int flags,
                       rt_op *out);

/**
 * Submits: recvmsg(2) with its `flags`. Outcome: how many bytes came, with `msg` filled in. Otherwise as `rt_submit_recv`.
 *
 * # Safety
 * `cx` is the context of this poll; `msg` is a message to receive into until the operation is over; `out` is writable.
 */
int64_t rt_submit_recvmsg(rt_cx *cx,
                          rt_io io,
                          struct msghdr *msg,
                          int flags,
                          rt_op *out);

/**
 * Submits: sendmsg(2) with its `flags`. Outcome: all bytes of the message, or an error. On a stream it is ordered as
 * `rt_submit_send` is; control data goes with the first byte.
 *
 * # Safety
 * `cx` is the context of this poll; `msg` is a message to send until the operation is over; `out` is writable.
 */
int64_t rt_submit_sendmsg(rt_cx *cx,
                          rt_io io,
                          const struct msghdr *msg,
                          int flags,
                          rt_op *out);

/**
 * Submits: read into `buf` at `offset` (`RT_OFFSET_CURRENT`: where the file stands). Outcome: how many bytes were read, 0 at
 * the end, or the system's error. Otherwise as `rt_submit_accept`; also `-EINVAL` for an offset that no file has, and `-ESPIPE`
 * for any but `RT_OFFSET_CURRENT` on what has no positions.
 *
 * # Safety
 * `cx` is the context of this poll; `buf` has `n` writable bytes until the operation is over; `out` is writable.
 */
int64_t rt_submit_read(rt_cx *cx,
                       rt_io io,
                       void *buf,
                       size_t n,
                       uint64_t offset,
                       rt_op *out);

/**
 * Submits: write from `buf` at `offset`. Outcome: how many bytes were written, which may be fewer, or the system's error. On a
 * socket it is `rt_submit_send`. Otherwise as `rt_submit_read`. No SIGPIPE is raised.
 *
 * # Safety
 * `cx` is the context of this poll; `buf` has `n` readable bytes until the operation is over; `out` is writable.
 */
int64_t rt_submit_write(rt_cx *cx,
                        rt_io io,
                        const void *buf,
                        size_t n,
                        uint64_t offset,
                        rt_op *out);

/**
 * As `rt_submit_read`, into several buffers.
 *
 * # Safety
 * `cx` is the context of this poll; `iov` has `iovcnt` entries, of memory that is writable until the operation is over; `out` is
 * writable.
 */
int64_t rt_submit_readv(rt_cx *cx,
                        rt_io io,
                        const struct iovec *iov,
                        int iovcnt,
                        uint64_t offset,
                        rt_op *out);

/**
 * As `rt_submit_write`, from several buffers.
 *
 * # Safety
 * `cx` is the context of this poll; `iov` has `iovcnt` entries, of memory that is readable until the operation is over; `out` is
 * writable.
 */
int64_t rt_submit_writev(rt_cx *cx,
                         rt_io io,
                         const struct iovec *iov,
                         int iovcnt,
                         uint64_t offset,
                         rt_op *out);

/**
 * Submits: splice(2), `n` bytes from one descriptor to another, one of which is a pipe. Outcome: how many bytes moved, 0 at the
 * end, or the system's error. It waits until something can be moved. Offsets as for `rt_submit_read`. Otherwise as
 * `rt_submit_accept`.
 *
 * # Safety
 * `cx` is the context of this poll; `out` is writable.
 */
int64_t rt_submit_splice(rt_cx *cx,
                         rt_io from,
                         uint64_t from_offset,
                         rt_io to,
                         uint64_t to_offset,
                         size_t n,
                         uint32_t flags,
                         rt_op *out);

/**
 * Submits: shutdown(2) with its `how`, after what was queued to be sent before. Outcome: 0, or the system's error. Otherwise as
 * `rt_submit_accept`.
 *
 * # Safety
 * `cx` is the context of this poll; `out` is writable.
 */
int64_t rt_submit_shutdown(rt_cx *cx,
                           rt_io io,
                           int how,
                           rt_op *out);

/**
 * Submits: close, as `rt_close` does. The handle is stale at once. Outcome: what close(2) said, after the descriptor's last user
 * had gone; `-ECANCELED` if the operation was cancelled: then that user closes it. 0 for a borrowed descriptor, which is not
 * closed. Otherwise as `rt_submit_accept`.
 *
 * # Safety
 * `cx` is the context of this poll; `out` is writable.
 */
int64_t rt_submit_close(rt_cx *cx,
                        rt_io io,
                        rt_op *out);

/**
 * Takes the outcome of an operation: a number, a new `rt_io`, or an error of the operation. It is given once; then the handle is
 * stale.
 *
 * `RT_PENDING`: the task will be woken. Also: `-EBADF` for a stale handle; `-EPERM` for another task's operation, and outside of
 * tasks; `-EINVAL` for one with many results. `-ECANCELED`: it was cancelled, or its descriptor was closed. `-ETIME`: its
 * deadline came first. In a poll. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll.
 */
int64_t rt_poll_op(rt_cx *cx,
                   rt_op op);

/**
 * Asks an operation to end. Its outcome is still to be taken: `-ECANCELED`, or what came first.
 *
 * Returns 0, also if it is over; `-EBADF`. Any thread. Does not block, and does not wait.
 */
int64_t rt_cancel(rt_op op);

/**
 * Sets the time, on the clock of `rt_now`, at which an operation is ended with the outcome `-ETIME`. `RT_NEVER` takes it back.
 *
 * Returns 0, also if the operation is over; `-EBADF`; `-EPERM` for another task's, and outside of tasks. In a poll of the task that
 * owns the operation. Does not block.
 */
int64_t rt_op_deadline(rt_op op,
                       uint64_t at);

/**
 * Lets go of an operation, whose handle is stale from now on. When it is over `done` (which may be NULL) is called with its
 * outcome, once, on the task's worker, outside of polls and before the task's drop function; what it names is the program's
 * then. Without `done` a connection or file that it yields is closed.
 *
 * Returns 0; `-EBADF`; `-EPERM` for another task's, and outside of tasks; `-EINVAL` for one with many results. On failure
 * `done` is not called. In a poll of the task that owns the operation. Does not block.
 *
 * # Safety
 * `done` may be called with `arg`.
 */
int64_t rt_op_forget(rt_op op,
                     rt_done_fn done,
                     void *arg);

/**
 * Waits until none of the task's operations goes on any more, forgotten ones included: then the library holds none of the
 * task's memory. Outcomes that were not taken stay.
 *
 * Returns 0; `RT_PENDING`; `-EPERM` outside of tasks. In a poll. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll.
 */
int64_t rt_poll_quiesce(rt_cx *cx);

/**
 * Submits: fsync(2). Outcome: 0, or the system's error. Otherwise as `rt_submit_accept`.
 *
 * # Safety
 * `cx` is the context of this poll; `out` is writable.
 */
int64_t rt_submit_fsync(rt_cx *cx, rt_io io, rt_op *out);

/**
 * Submits: fdatasync(2). Outcome: 0, or the system's error. Otherwise as `rt_submit_accept`.
 *
 * # Safety
 * `cx` is the context of this poll; `out` is writable.
 */
int64_t rt_submit_fdatasync(rt_cx *cx, rt_io io, rt_op *out);

/**
 * Submits: fallocate(2). Outcome: 0, or the system's error. Otherwise as `rt_submit_accept`.
 *
 * # Safety
 * `cx` is the context of this poll; `out` is writable.
 */
int64_t rt_submit_fallocate(rt_cx *cx,
                            rt_io io,
                            int mode,
                            uint64_t offset,
                            uint64_t len,
                            rt_op *out);

/**
 * Submits: ftruncate(2). Outcome: 0, or the system's error. Otherwise as `rt_submit_accept`.
 *
 * # Safety
 * `cx` is the context of this poll; `out` is writable.
 */
int64_t rt_submit_ftruncate(rt_cx *cx, rt_io io, uint64_t len, rt_op *out);

/**
 * Submits: openat(2), with O_CLOEXEC. `dir` is a registered directory, or 0 for the current one. Outcome: the file, an `rt_io`
 * without readiness, owned; or the system's error. Whether the open of a FIFO without O_NONBLOCK waits for the other end depends on
 * the engine: use O_NONBLOCK. Otherwise as `rt_submit_accept`.
 *
 * # Safety
 * `cx` is the context of this poll; `path` is a C string; `out` is writable.
 */
int64_t rt_submit_openat(rt_cx *cx,
                         rt_io dir,
                         const char *path,
                         int flags,
                         mode_t mode,
                         rt_op *out);

/**
 * Submits: statx(2) into `*into`. Outcome: 0, or the system's error. Otherwise as `rt_submit_openat`.
 *
 * # Safety
 * `cx` is the context of this poll; `path` is a C string; `into` is writable until the operation is over; `out` is writable.
 */
int64_t rt_submit_statx(rt_cx *cx,
                        rt_io dir,
                        const char *path,
                        int flags,
                        unsigned int mask,
                        struct statx *into,
                        rt_op *out);

/**
 * Submits: unlinkat(2). Outcome: 0, or the system's error. Otherwise as `rt_submit_openat`.
 *
 * # Safety
 * `cx` is the context of this poll; `path` is a C string; `out` is writable.
 */
int64_t rt_submit_unlinkat(rt_cx *cx, rt_io dir, const char *path, int flags, rt_op *out);

/**
 * Submits: renameat2(2). Outcome: 0, or the system's error. Otherwise as `rt_submit_openat`.
 *
 * # Safety
 * `cx` is the context of this poll; the paths are C strings; `out` is writable.
 */
int64_t rt_submit_renameat(rt_cx *cx,
                           rt_io from_dir,
                           const char *from,
                           rt_io to_dir,
                           const char *to,
                           unsigned int flags,
                           rt_op *out);

/**
 * Submits: mkdirat(2). Outcome: 0, or the system's error. Otherwise as `rt_submit_openat`.
 *
 * # Safety
 * `cx` is the context of this poll; `path` is a C string; `out` is writable.
 */
int64_t rt_submit_mkdirat(rt_cx *cx, rt_io dir, const char *path, mode_t mode, rt_op *out);

/**
 * Submits: accept connections, one after the other, until an error or `rt_cancel` ends it. They are taken by
 * `rt_poll_accept_next`; those that nobody took are closed. Otherwise as `rt_submit_accept`.
 *
 * # Safety
 * `cx` is the context of this poll; `out` is writable.
 */
int64_t rt_submit_accept_multi(rt_cx *cx,
                               rt_io listener,
                               rt_op *out);

/**
 * Takes the next connection of `rt_submit_accept_multi`.
 *
 * Returns 0 and the connection in `*conn`, as `rt_poll_accept` gives it; `RT_PENDING`. `-EMFILE`, `-ENFILE`, `-ENOBUFS` and `-ENOMEM` are
 * told once each time; the operation goes on when the library closed a descriptor, or after 100 ms. Every other error is
 * the end, and the handle is stale: `-ECANCELED` after a cancel or a close, and the system's. Also: `-EBADF`, `-EPERM`, `-EINVAL` as
 * for `rt_poll_op`, after which nothing has changed. In a poll. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `conn` is writable.
 */
int64_t rt_poll_accept_next(rt_cx *cx,
                            rt_op op,
                            rt_io *conn);

/**
 * Submits: receive into buffers of the library's, until the stream ends, an error comes, or `rt_cancel`. No buffer is held
 * while nothing comes. What came is taken by `rt_poll_recv_next`. Otherwise as `rt_submit_recv`.
 *
 * A receiver has at most about 16 buffers that wait for its task or are leased from it; then it pauses until half of them
 * came back, or until some did and the task waits for more. When the worker has no buffer left its receivers wait for one, in
 * turn. Nothing is lost by either; but a task that waits for one connection, and leaves what came on many others, may wait for
 * the buffers that these hold. On sockets with message boundaries an empty message ends the operation as the end of a stream
 * does.
 *
 * # Safety
 * `cx` is the context of this poll; `out` is writable.
 */
int64_t rt_submit_recv_multi(rt_cx *cx,
                             rt_io io,
                             rt_op *out);

/**
 * Takes what was received next.
 *
 * Returns how many bytes there are, more than 0, and a lease on them in `*out`; `RT_PENDING`. 0 at the end of the stream, or an
 * error, is the end, and the handle is stale: `-ECANCELED` after a cancel or a close, and the system's. Also: `-EBADF`, `-EPERM`,
 * `-EINVAL` as for `rt_poll_op`, after which nothing has changed. In a poll. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `out` is writable.
 */
int64_t rt_poll_recv_next(rt_cx *cx,
                          rt_op op,
                          rt_buf *out);

/**
 * Gives a leased buffer back, whose memory is the library's from now on.
 *
 * Returns 0, also for the handle 0; `-EBADF` if it was given back before, or never leased. Any thread, at any time. Does not block.
 */
int64_t rt_buf_release(uint64_t lease);

/**
 * Sends `n` bytes after everything that was submitted or given to be sent on this stream before. What does not go at once is
 * copied and sent when there is room; what has queued up leaves together. On sockets with message boundaries each call is one
 * message.
 *
 * Returns `n`. On failure nothing was taken: `-EAGAIN` when more is queued than the limit of `rt_config`: `rt_poll_flush` waits for
 * that; `-EPIPE` after an earlier send failed or was cut short, and without SIGPIPE; the system's errors; `-EBADF`; `-ENOTSOCK`;
 * `-EINVAL` for NULL with a length, and for a socket that blocks; `-ENOMEM`. Any thread. Does not block.
 *
 * # Safety
 * `buf` has `n` readable bytes.
 */
int64_t rt_send(rt_io io,
                const void *buf,
                size_t n);

/**
 * Makes a blob of a copy of `n` bytes.
 *
 * Returns 0 and the blob in `*out`, which the caller must give to `rt_blob_free` once; `-EINVAL`, `-ENOMEM`. Any thread.
 *
 * # Safety
 * `buf` has `n` readable bytes; `out` is writable.
 */
int64_t rt_blob_new(const void *buf,
                    size_t n,
                    rt_blob *out);

/**
 * Gives up the caller's reference to a blob. Sends that are queued keep theirs.
 *
 * Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_blob_free(rt_blob blob);

/**
 * As `rt_send`, without a copy. The caller keeps its reference. `-EBADF` also for a stale blob.
 */
int64_t rt_send_blob(rt_io io, rt_blob blob);

/**
 * As `rt_send`, without a copy: the bytes from `buf->ptr` on, `buf->len` of them, all of which must lie within the buffer that was
 * leased. On success the lease is the library's; on failure it stays the caller's. `-EBADF` also for a stale lease, `-EINVAL` for
 * bytes outside of it.
 *
 * # Safety
 * `buf` is readable.
 */
int64_t rt_send_buf(rt_io io,
                    const rt_buf *buf);

/**
 * Waits until at most `low_water` bytes are queued to be sent on a stream.
 *
 * Returns 0; `RT_PENDING`; the error that ended the stream's sends; `-EBADF`; `-EINVAL`, `-EPERM` for the context. In a poll. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll.
 */
int64_t rt_poll_flush(rt_cx *cx,
                      rt_io io,
                      size_t low_water);

/**
 * Makes a set, without members, for tasks and contexts of a runtime.
 *
 * Returns 0, and the set in `*out`. On failure `*out` is 0: `-EINVAL` for NULL; `-EBADF` for the runtime; `-ENOMEM`. Any thread.
 * Does not block.
 *
 * # Safety
 * `out` is writable.
 */
int64_t rt_set_new(rt_runtime rt,
                   rt_set *out);

/**
 * Frees a set. Its members go on; they are not watched any more, and can be added to other sets. Who waits in `rt_poll_set` is
 * woken, to see `-EBADF`.
 *
 * Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_set_free(rt_set set);

/**
 * Adds an operation of the calling task, or a task that may be joined. `key` is the program's, and need not be unique. What
 * is ready already, or can be joined, is so in the set at once.
 *
 * A member whose outcome is taken elsewhere, that is forgotten, detached, or whose task ends, is ready too: its poll says
 * `-EBADF` then. A task can be in several sets; each of them reports it, and one join gets the result.
 *
 * Returns 0. On failure the set is as it was: `-EBADF` for a stale set or handle, and for a task that was detached; `-EINVAL`
 * for a handle of another kind; `-EPERM` for another task's operation, for any operation outside of tasks, and for a set of
 * another runtime; `-EEXIST` for an operation that is in a set and not ready yet; `-EDEADLK` for the calling task itself. In
 * a poll, or with a context of the program's own. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll.
 */
int64_t rt_set_add(rt_cx *cx,
                   rt_set set,
                   uint64_t handle,
                   uint64_t key);

/**
 * Waits for any member to be ready.
 *
 * Returns 0, and in `*key` the member's key: it has left the set, and its `rt_poll_op`, `rt_poll_accept_next`, `rt_poll_recv_next` or
 * `rt_poll_join`, called next, will not be pending. Members come in the order in which they became ready, each once.
 * `RT_PENDING`: none is ready yet. Several tasks may wait; all are woken, one gets the member.
 *
 * `-ENOENT`: the set has no members. Also: `-EBADF` for a stale handle; `-EINVAL` for NULL; `-EPERM` for a set of another runtime.
 * In a poll, or with a context of the program's own. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `key` is writable.
 */
int64_t rt_poll_set(rt_cx *cx,
                    rt_set set,
                    uint64_t *key);

/**
 * The time, in nanoseconds, of the monotonic clock: what every `at` and `_at` is measured by.
 *
 * Any thread; also in signal handlers.
 */
uint64_t rt_now(void);

/**
 * Starts a timer that fires at a time, at once if that has passed, never for `RT_NEVER`.
 *
 * Returns 0, and the timer in `*out`, to be given to `rt_timer_cancel` once. On failure `*out` is 0: `-EBADF`; `-EINVAL` for NULL;
 * `-ENOMEM`; `-ESHUTDOWN`. Any thread. Does not block.
 *
 * # Safety
 * `out` is writable.
 */
int64_t rt_timer_start(rt_runtime rt,
                       uint64_t at,
                       rt_timer *out);

/**
 * Starts a timer that ticks at `first`, and every `period_ns` nanoseconds from then on. `missed` says what becomes of ticks that
 * nobody took in time: `RT_MISSED_BURST`, `RT_MISSED_SKIP` or `RT_MISSED_DELAY`.
 *
 * As `rt_timer_start`. `-EINVAL` also for a period of 0, and for another `missed`.
 *
 * # Safety
 * `out` is writable.
 */
int64_t rt_timer_interval(rt_runtime rt,
                          uint64_t first,
                          uint64_t period_ns,
                          uint32_t missed,
                          rt_timer *out);

/**
 * Arms a timer anew, whether it fired or not. Who waits for it waits on. An interval ticks on from there.
 *
 * Returns 1 if it had not fired for the time before: it will not. 0: it had. `-EBADF`. Any thread; of a reset and a firing at the
 * same moment, one comes first. Does not block.
 */
int64_t rt_timer_reset(rt_timer timer,
                       uint64_t at);

/**
 * Ends a timer, and makes its handle stale. Tasks that wait for it are woken, to see `-EBADF`.
 *
 * Returns 1 if it had not fired: it never will. 0: it had, or the handle is 0. `-EBADF`. Any thread; of a cancel and a firing at
 * the same moment, one comes first, and so the other did not happen. Does not block.
 */
int64_t rt_timer_cancel(rt_timer timer);

/**
 * Waits for a timer.
 *
 * Returns 0 once it has fired, until it is reset. For an interval: how many ticks, one at least, this call took. `RT_PENDING`.
 * `-EBADF`; `-EINVAL`, `-EPERM` for the context. Several tasks may wait; all are woken, and a tick is one's. In a poll, or with a context of
 * the program's own. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll.
 */
int64_t rt_poll_timer(rt_cx *cx,
                      rt_timer timer);

/**
 * Waits until a time. `*slot` is the program's place for a timer: 0 at first, and 0 again when this is ready. Calling it with a later
 * time than before moves the timer, which is cheap: so an idle timeout is one call beside each read.
 *
 * Returns 0 at the time; `RT_PENDING`; `-EINVAL` for NULL; `-EBADF` for a slot that holds no timer; `-ENOMEM`; `-EPERM` for the context.
 * Who leaves before gives the slot to `rt_timer_cancel`: drop functions do. In a poll, or with a context of the program's own. Does not
 * block.
 *
 * # Safety
 * `cx` is the context of this poll; `slot` is readable and writable.
 */
int64_t rt_poll_sleep(rt_cx *cx,
                      rt_timer *slot,
                      uint64_t at);

/**
 * Puts a deadline on a wait: `rt_poll_deadline(cx, &slot, at, rt_poll_read(cx, io, buf, n))`. The slot is as for `rt_poll_sleep`.
 *
 * Returns `inner` if that is not `RT_PENDING`, and else `-ETIME` if the time has come: both empty the slot. `RT_PENDING`: neither. Errors
 * as for `rt_poll_sleep`. What `inner` waits for is not ended: an operation is cancelled by `rt_cancel`, or has a deadline of its own.
 *
 * # Safety
 * `cx` is the context of this poll; `slot` is readable and writable.
 */
int64_t rt_poll_deadline(rt_cx *cx,
                         rt_timer *slot,
                         uint64_t at,
                         int64_t inner);

/**
 * Calls a function at a time and, with a period that is not 0, again and again. It is a task that does so: `rt_abort` takes the call
 * back, and joining it says whether it was made (0) or taken back (`-ECANCELED`): never both. With `out` NULL it is detached.
 *
 * Returns 0; `drop`, which may be NULL, will be called with `arg` once, after the last call. On failure `arg` stays the caller's: as
 * `rt_spawn`. Any thread. Does not block. The function is called on a worker, outside of a poll of the program's; one that takes long
 * keeps others waiting.
 *
 * # Safety
 * `call` and `drop` may be called with `arg` on any thread, one call at a time. `out` is NULL or writable.
 */
int64_t rt_call_at(rt_runtime rt,
                   uint64_t at,
                   uint64_t period_ns,
                   rt_call_fn call,
                   void *arg,
                   rt_drop_fn drop,
                   rt_task *out);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ASYNCIO_H */
