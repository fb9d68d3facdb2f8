/*
 * libasyncio: a Linux server runtime for C. Tasks, wakers, readiness and operations.
 *
 * Results are int64_t: zero or more is success, -errno is failure, and RT_PENDING means that the
 * calling task will be woken. rt_failed() is true for failures only; errno is never used.
 * Handles are uint64_t and 0 is never one of them. A handle that is stale, forged or of another
 * kind gives -EBADF from any thread; the functions that release one accept 0 and do nothing.
 * It is given to another thread as a pointer is: with a lock, or by an atomic's release and acquire.
 * Times are nanoseconds on the monotonic clock.
 * An rt_poll_* call may be repeated with the same arguments until it is ready; polls may come
 * without a reason. Structs with options begin with their size, set by their _init function.
 * Functions of the program's that the library calls return: neither a C++ exception nor longjmp nor
 * pthread_exit may leave them. In a signal handler call nothing but rt_event_set, which is made for
 * that.
 * pthread_cancel of a thread that is in a call which "Blocks" takes effect after that call, and does
 * not end it. In all other calls a thread that may be cancelled has cancellation disabled
 * (pthread_setcancelstate); asynchronous it must never be.
 * In a child that was forked from a process which had a runtime, every call gives -EPERM. Where the
 * child's thread was in a function that the library called, that function should end in _exit or
 * exec. If it returns, the child leaves the runtime: rt_run, or whatever drove it, returns -EPERM;
 * a thread of the library's ends, and with it, the last one, the child, as by exit(3).
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
 *
 * A program that confines itself after `rt_new` (seccomp) must go on allowing io_uring_enter(2), and io_uring_register(2) if it asks
 * for `rt_event_fd` later. Where one is refused, the former by EPERM, EACCES or ENOSYS, a worker goes over to epoll, and
 * `rt_describe` says so. What the kernel has not got by then, and whatever comes later, goes as on epoll. An operation that the
 * kernel has stays there without an outcome, also when it is cancelled: its task ends no more, and it takes an `rt_shutdown` with a
 * timeout to give it up. Where that is a part of what a stream has queued, nobody can tell how much of it went: the stream is shut
 * down in both directions, sends and flushes say -EPIPE or -ECONNABORTED, and the rest is dropped.
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
 * For `rt_poll_resolve`: addresses of IPv4 only.
 */
#define RT_RESOLVE_V4 UINT32_C(1)

/**
 * For `rt_poll_resolve`: addresses of IPv6 only.
 */
#define RT_RESOLVE_V6 UINT32_C(2)

/**
 * For `rt_poll_resolve`: only what is a literal address already; nobody is asked.
 */
#define RT_RESOLVE_NUMERIC UINT32_C(4)

/**
 * For `rt_tcp_opts::flags`: small writes may wait for each other, as TCP would have it. Without it TCP_NODELAY is set.
 */
#define RT_TCP_NODELAY_OFF UINT32_C(1)

/**
 * For `rt_tcp_opts::flags`: several sockets may listen at the address (SO_REUSEPORT), and share its connections.
 */
#define RT_TCP_REUSEPORT (UINT32_C(1) << UINT32_C(1))

/**
 * For `rt_tcp_opts::flags`: a listener of IPv6 takes no connections of IPv4.
 */
#define RT_TCP_V6ONLY (UINT32_C(1) << UINT32_C(2))

/**
 * For `rt_tcp_opts::flags`: a connection is accepted when its first bytes came, or after some seconds.
 */
#define RT_TCP_DEFER_ACCEPT (UINT32_C(1) << UINT32_C(3))

/**
 * For `rt_unix_opts::flags`, to listen: a socket at the path that refuses connections is removed first.
 */
#define RT_UNIX_UNLINK_STALE UINT32_C(1)

/**
 * For `*flags` of `rt_poll_recv_fds`: more descriptors were sent than there was room for, and the others were closed.
 */
#define RT_FDS_TRUNCATED UINT32_C(1)

/**
 * For `rt_udp_opts::flags`: several sockets may be bound to the address (SO_REUSEPORT), and share its datagrams.
 */
#define RT_UDP_REUSEPORT UINT32_C(1)

/**
 * For `rt_udp_opts::flags`: others may be bound to the address (SO_REUSEADDR), as for multicast.
 */
#define RT_UDP_REUSEADDR (UINT32_C(1) << UINT32_C(1))

/**
 * For `rt_udp_opts::flags`: a socket of IPv6 takes no datagrams of IPv4.
 */
#define RT_UDP_V6ONLY (UINT32_C(1) << UINT32_C(2))

/**
 * For `rt_udp_opts::flags`: datagrams may be sent to broadcast addresses.
 */
#define RT_UDP_BROADCAST (UINT32_C(1) << UINT32_C(3))

/**
 * For `rt_udp_opts::flags`: datagrams of one sender may come together: see `rt_datagram::segment`. Buffers should have 64 KiB.
 */
#define RT_UDP_GRO (UINT32_C(1) << UINT32_C(4))

/**
 * For `rt_datagram::flags`: the datagram was longer than the buffer, and its rest is lost.
 */
#define RT_DATAGRAM_TRUNCATED UINT32_C(1)

/**
 * How many datagrams `rt_poll_recv_many` and `rt_poll_send_many` move at most with one call.
 */
#define RT_DATAGRAMS_MAX UINT32_C(64)

/**
 * A mode: one worker accepts, and gives the connections to all workers in turn. The default.
 */
#define RT_SERVE_SHARED UINT32_C(0)

/**
 * A mode: every worker accepts from the one backlog, and keeps what it got. On epoll a connection wakes one sleeping worker
 * where the kernel can tell; on io_uring it may wake several, of which one gets it.
 */
#define RT_SERVE_EXCLUSIVE UINT32_C(1)

/**
 * A mode: every worker has a listener of its own, among which the kernel divides what comes. The listener must have been bound
 * with SO_REUSEPORT.
 *
 * The others are made like it: they have its address and backlog, its socket filter (SO_ATTACH_FILTER, SO_LOCK_FILTER), and what
 * it was set to of SO_BINDTODEVICE, SO_BUSY_POLL, SO_DONTROUTE, SO_KEEPALIVE, SO_LINGER, SO_MARK, SO_MAX_PACING_RATE,
 * SO_OOBINLINE, SO_PRIORITY, SO_RCVBUF, SO_RCVLOWAT, SO_RCVTIMEO, SO_REUSEADDR, SO_SNDBUF, SO_SNDTIMEO, SO_ZEROCOPY; IP_FREEBIND,
 * IP_MINTTL, IP_MTU_DISCOVER, IP_TOS, IP_TRANSPARENT, IP_TTL and what IPv6 calls the same, IPV6_V6ONLY; TCP_CONGESTION,
 * TCP_DEFER_ACCEPT, TCP_FASTOPEN, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_LINGER2, TCP_MAXSEG, TCP_NODELAY,
 * TCP_NOTSENT_LOWAT, TCP_SAVE_SYN, TCP_SYNCNT, TCP_USER_TIMEOUT, TCP_WINDOW_CLAMP. Set them before `rt_serve`. Whatever else it
 * was set to, such as keys (TCP_MD5SIG, TCP_AO), is not read, and holds for one listener only.
 */
#define RT_SERVE_REUSEPORT UINT32_C(2)

/**
 * For `rt_process_opts::stdin_fd` and its kin: the child has what this process has there.
 */
#define RT_STDIO_INHERIT 0

/**
 * For `rt_process_opts::stdin_fd` and its kin: /dev/null.
 */
#define RT_STDIO_NULL (-1)

/**
 * For `rt_process_opts::stdin_fd` and its kin: a pipe, whose other end is for `rt_process_stdio`.
 */
#define RT_STDIO_PIPE (-2)

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
     * Bytes of a thread's stack. 0: 2 MiB. Less than 64 KiB, which the library's own calls need, and more than 1 TiB are refused by
     * `-EINVAL`. Thread-local data of the program's, which glibc keeps on the stack, comes on top.
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
     * Bytes of a receive buffer. 0: 16384.
     */
    uint32_t buffer_size;
    /**
     * Receive buffers of a worker, at most 32768. Memory is taken as they are used. When all are held, and stay so, a receiver
     * of which nothing waits for its task gets one beyond them. 0: 512.
     */
    uint32_t buffer_count;
    /**
     * How many threads there may be for calls that block. They end when they are not used. 0: 64.
     */
    uint32_t blocking_threads;
    /**
     * How many bytes may be queued to be sent on one stream before `rt_send` and its kin refuse more. What they queue counts for a
     * quarter of the memory that it takes at least: for 40 bytes, and on a lease for 1024. 0: 1 MiB.
     */
    uint64_t send_limit;
    /**
     * How many threads there may be that ask name servers, for `rt_poll_resolve` and its kin. They end when they are not
     * used. 0: 4.
     */
    uint32_t resolver_threads;
    /**
     * Zero.
     */
    uint32_t reserved;
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
 * functions, and in the destructors of thread-local values that run as a worker's thread ends.
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
     * Threads for calls that block, those that ask name servers among them.
     */
    uint64_t blocking_threads;
    /**
     * Timers, deadlines of operations among them.
     */
    uint64_t timers_live;
} rt_metrics_data;

/**
 * What there is in the process, of all runtimes, those that are gone included. Set `size`, then call `rt_census`.
 */
typedef struct rt_census_data {
    /**
     * The size of this struct as the program knows it.
     */
    uint32_t size;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * Runtimes that were not freed.
     */
    uint64_t runtimes;
    /**
     * Tasks that have not ended, can be joined or detached, or whose wakers somebody has, or had a million of at once.
     */
    uint64_t tasks;
    /**
     * Descriptors that are registered.
     */
    uint64_t ios;
    /**
     * Operations of tasks that have not ended, and those whose memory was left to the kernel.
     */
    uint64_t ops;
    /**
     * Timers.
     */
    uint64_t timers;
    /**
     * Receive buffers that the program holds.
     */
    uint64_t leases;
    /**
     * Whatever else has a handle: sets, streams, channels, blobs and so on.
     */
    uint64_t objects;
    /**
     * What the library holds for itself.
     */
    uint64_t rest;
} rt_census_data;

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
     * With `RT_SPAWN_PINNED`: the worker of this pinned task, or of this watch, of the same runtime.
     */
    rt_task near;
    /**
     * What the task is called, for `rt_task_name`. Copied: by `rt_spawn_with` before it returns; of a connection, after its
     * `rt_accept_fn` returned. May be NULL.
     */
    const char *name;
} rt_spawn_opts;

/**
 * A waker: two words that belong to this library, passed by pointer. A waker of a task keeps the task's memory, not its
 * life. A zeroed one is no waker; it may be dropped. A task that had a million of them at once keeps its memory for ever, for its
 * count of them stands still from then on.
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
 * An operation: work that a task submits and whose outcome it takes later. On io_uring the kernel does it (but not
 * connects, nor the sends of messages); elsewhere it is tried, waits for readiness, or blocks a thread of the library's.
 * Results, cancellation and the end of streams are the same.
 *
 * An operation belongs to the task in whose poll it was submitted. The memory that it was given (buffers, messages and all
 * that they point to) is the library's until the outcome was taken, or until the task's drop function runs. Paths, socket
 * addresses and arrays of `struct iovec` are copied.
 *
 * A task that ends with operations going on, however it ends, has them cancelled; its drop function runs after the last of
 * them, and its join is resolved after that. What they produced, a connection, an open file or descriptors that came with a
 * message, is closed. A task with operations stays on its worker.
 *
 * Closing a descriptor cancels the operations on it; they keep it open until they have ended. `rt_deregister` gives
 * `-EBUSY` while there are any. Beside an operation that reads, `rt_poll_read` and its kin give `-EBUSY`; beside sends that
 * are queued, `rt_poll_write` and its kin do, and `rt_poll_try` for `RT_WRITABLE`. `rt_submit_splice` reads from its source.
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
 * Constant bytes that are counted by reference, to be sent to many. 0 is never one.
 *
 * Methods: `rt_blob_new`, `rt_blob_free`, `rt_send_blob`.
 */
typedef uint64_t rt_blob;

/**
 * A set: waits for many operations, timers and tasks at once. A member says by its key that it is ready, and leaves the set; one
 * that yields more, an operation with many results or an interval, is added again. What a member yields is taken by its own poll: the
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
 * 0 is never a timer. The handle is good until `rt_timer_cancel`, or until its runtime has shut down.
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
typedef void (*rt_timer_fn)(void *arg);

/**
 * A function that may block. It runs once, on a thread of the library's, beside the runtime's tasks, with no lock held and all
 * signals blocked. It may call everything that any thread may; it is not inside of a poll, so it has no `rt_cx`.
 */
typedef int64_t (*rt_call_fn)(void *arg);

/**
 * A socket address of any family: `len` bytes of `storage` are a `struct sockaddr`, to be passed to system calls as such. A
 * `len` of 0 is no address.
 *
 * Methods: `rt_addr_parse`, `rt_addr_text`, `rt_addr_port`. Of a socket: `rt_local_addr`, `rt_peer_addr`.
 */
typedef struct rt_addr {
    /**
     * How many bytes of `storage` are the address.
     */
    uint32_t len;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * The address.
     */
    uint64_t storage[16];
} rt_addr;

/**
 * How TCP sockets are made. Set by `rt_tcp_opts_init`; zero means the default in every field.
 *
 * Accepted connections inherit TCP_NODELAY, the keepalive and the buffers of their listener.
 */
typedef struct rt_tcp_opts {
    /**
     * The size of this struct as the program knows it.
     */
    uint32_t size;
    /**
     * `RT_TCP_NODELAY_OFF`, `RT_TCP_REUSEPORT`, `RT_TCP_V6ONLY`, `RT_TCP_DEFER_ACCEPT`.
     */
    uint32_t flags;
    /**
     * How many connections may wait to be accepted. Default: 4096. The system has a limit of its own.
     */
    uint32_t backlog;
    /**
     * The peer is asked whether it is still there after so many seconds of silence, at most 32,767. Any of these three turns that
     * on; the others are the system's then. Default: off.
     */
    uint32_t keepalive_s;
    /**
     * Seconds between such questions, at most 32,767.
     */
    uint32_t keepalive_interval_s;
    /**
     * How many stay unanswered before the connection is given up, at most 127.
     */
    uint32_t keepalive_count;
    /**
     * SO_SNDBUF, in bytes. Default: the system adapts it.
     */
    uint32_t send_buffer;
    /**
     * SO_RCVBUF, in bytes. Default: the system adapts it.
     */
    uint32_t receive_buffer;
    /**
     * To connect: when the attempt ends in `-ETIME`. 0 and `RT_NEVER`: when the system gives up.
     */
    uint64_t deadline;
    /**
     * To connect: the address that connections come from, of IPv4 or IPv6; only peers of that family are tried. Its port may be 0.
     * Copied. May be NULL.
     */
    const rt_addr *local;
} rt_tcp_opts;

/**
 * How Unix sockets are made. Set by `rt_unix_opts_init`; zero means the default in every field.
 */
typedef struct rt_unix_opts {
    /**
     * The size of this struct as the program knows it.
     */
    uint32_t size;
    /**
     * `RT_UNIX_UNLINK_STALE`.
     */
    uint32_t flags;
    /**
     * `SOCK_STREAM`, the default, or `SOCK_SEQPACKET`.
     */
    int32_t kind;
    /**
     * To listen: the permissions of the socket's file, such as 0600; who may write may connect. Default: 0777 without the bits of
     * the process's umask.
     */
    uint32_t mode;
    /**
     * To listen: how many connections may wait to be accepted. Default: 4096. The system has a limit of its own.
     */
    uint32_t backlog;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * To connect: when the attempt ends in `-ETIME`. 0 and `RT_NEVER`: never.
     */
    uint64_t deadline;
} rt_unix_opts;

/**
 * Who is at the other end of a Unix socket.
 */
typedef struct rt_unix_cred {
    /**
     * The process. 0 if it is in a namespace that cannot be seen from here.
     */
    int32_t pid;
    /**
     * Its effective user.
     */
    uint32_t uid;
    /**
     * Its effective group.
     */
    uint32_t gid;
} rt_unix_cred;

/**
 * How UDP sockets are made. Set by `rt_udp_opts_init`; zero means the default in every field.
 */
typedef struct rt_udp_opts {
    /**
     * The size of this struct as the program knows it.
     */
    uint32_t size;
    /**
     * `RT_UDP_REUSEPORT`, `RT_UDP_REUSEADDR`, `RT_UDP_V6ONLY`, `RT_UDP_BROADCAST`, `RT_UDP_GRO`.
     */
    uint32_t flags;
    /**
     * SO_SNDBUF, in bytes. Default: the system's.
     */
    uint32_t send_buffer;
    /**
     * SO_RCVBUF, in bytes: what comes beyond it is lost. Default: the system's.
     */
    uint32_t receive_buffer;
} rt_udp_opts;

/**
 * One datagram of many.
 */
typedef struct rt_datagram {
    /**
     * The bytes.
     */
    void *buf;
    /**
     * To send: how many bytes. To receive: how many `buf` has room for, and afterwards how many came.
     */
    size_t len;
    /**
     * To send: where to, or a `len` of 0 for the socket's own peer. Received: where from.
     */
    rt_addr addr;
    /**
     * Received: `RT_DATAGRAM_TRUNCATED`. To send: not looked at.
     */
    uint32_t flags;
    /**
     * To send: if it is not 0, `buf` is cut into datagrams of so many bytes, the last of which may be shorter. Received, with
     * `RT_UDP_GRO`: if it is not 0, several datagrams of so many bytes came, the last of which may be shorter.
     */
    uint32_t segment;
} rt_datagram;

/**
 * How much a stream buffers. Zeros mean the defaults.
 */
typedef struct rt_stream_opts {
    /**
     * The size of this struct, set by `rt_stream_opts_init`.
     */
    uint32_t size;
    /**
     * How much is read at a time. 0: 4096. What is received on io_uring comes in the buffers of `rt_config`.
     */
    uint32_t read_buffer;
    /**
     * The longest line with its delimiter, and the most that `rt_poll_fill` can be asked for. 0: 65536.
     */
    uint32_t limit;
    /**
     * How much may be written without being sent. 0: 16384. Memory is taken as it is used.
     */
    uint32_t write_buffer;
} rt_stream_opts;

/**
 * A buffered reader and writer over an `rt_io`, which stays the caller's: a socket, a pipe, a terminal.
 *
 * Writes are sent when the buffer is full, by `rt_poll_stream_flush`, and when a read of the same stream is about to wait:
 * requests that came together are answered together, and no answer is forgotten. A stream that waits to read, with
 * nothing half read and nothing written, holds no buffer.
 *
 * 0 is never a stream. The handle is good until `rt_stream_free`, which may come before or after the `rt_close` of the `rt_io`.
 *
 * Methods: `rt_poll_stream_read`, `rt_poll_read_exact`, `rt_poll_read_until`, `rt_poll_fill`, `rt_stream_consume`,
 * `rt_poll_stream_write`, `rt_poll_stream_flush`, `rt_stream_free`. Made by `rt_stream_new`.
 *
 * Threads: a stream is used by one task, or context, at a time, from whatever thread; a call that meets another one gets
 * `-EBUSY`. It may pass from one task to another: nothing that was received is lost, also when the first task has ended. Of a message
 * that such a task had written in part the rest is missing, so nothing can be written after it: `-EPIPE`.
 *
 * Others should not use the same `rt_io` in the same direction: whoever else reads, directly or by a second stream, gets
 * `-EBUSY` or some of the bytes, and direct writes go before what is buffered. While `rt_send` has something queued, writes that do
 * not fit into the buffer and flushes get `-EBUSY`; a read that waits waits for that as well, and sends what is buffered then. On
 * io_uring a stream reads by an operation of the task, for which `rt_poll_quiesce` and `rt_deregister` are not ready until the
 * stream was freed; the operation ends soon after that.
 */
typedef uint64_t rt_stream;

/**
 * How a server behaves. Set by `rt_serve_opts_init`; zero means the default in every field.
 *
 * A deadline aborts the connection's task, as `rt_abort` does. Bytes count where the library moved them: in a read or write,
 * an operation, a queued send, or an `rt_poll_try` that returned more than 0. For an idle connection events of its
 * descriptor count, too, so that a program that makes its own calls after `rt_poll_ready` need not say so. Once the connection's
 * descriptor was closed, only `total_ns` holds.
 */
typedef struct rt_serve_opts {
    /**
     * The size of this struct as the program knows it.
     */
    uint32_t size;
    /**
     * `RT_SERVE_SHARED`, `RT_SERVE_EXCLUSIVE` or `RT_SERVE_REUSEPORT`. The same on a runtime with one worker.
     */
    uint32_t mode;
    /**
     * How many connections may be live at once. As long as there are so many nothing is accepted, and the backlog keeps what
     * comes. 0: no limit.
     */
    uint64_t max_connections;
    /**
     * A connection is cut if no byte was received for so long after it was accepted. 0: never.
     */
    uint64_t first_byte_ns;
    /**
     * A connection is cut if nothing was received or sent for so long: not earlier, and not later than a quarter more, as far as its
     * worker is not busy. 0: never.
     */
    uint64_t idle_ns;
    /**
     * A connection is cut so long after it was accepted, whatever it does. 0: never.
     */
    uint64_t total_ns;
    /**
     * 0.
     */
    uint64_t flags;
} rt_serve_opts;

/**
 * Says what becomes of a connection: fills in `poll`, `state` and `drop` of its task, as for `rt_spawn_with`, and returns 0 or
 * more; or refuses it by returning less, and the library closes `io`. From a return of 0 or more on `io` is the task's, whose
 * drop function closes it.
 *
 * `task` was set by `rt_spawn_opts_init`. The task is pinned to the worker that was chosen for the connection, which is the
 * one that watches `io`; with `near` and `RT_SPAWN_PINNED`, to that one, and `io` moves there. `name`, and with
 * `RT_SPAWN_INLINE` the state, are copied after this function returned, so neither is a local of its. If no task can be made of what
 * was filled in, or none at all any more, the connection counts as refused: `drop` is called with the state, as if the task had been
 * aborted before its first poll, and `io` is closed if it is still open.
 *
 * It is called on the worker that accepted, by several workers at once unless the mode is `RT_SERVE_SHARED`, outside of any
 * poll (`rt_cx_current` is NULL), with no lock held. It may call anything that does not block, be it `rt_server_stop`.
 */
typedef int64_t (*rt_accept_fn)(void *arg, rt_io io, rt_spawn_opts *task);

/**
 * A server: accepts what comes to a listener, and makes each connection a task of the program's.
 *
 * 0 is never a server. The handle is good until `rt_server_free`, or until the runtime was freed.
 *
 * Methods: `rt_server_stop`, `rt_poll_draining`, `rt_poll_drain`, `rt_server_stats`, `rt_server_free`. Made by `rt_serve`.
 *
 * Threads: any thread may call any method, also several at once.
 */
typedef uint64_t rt_server;

/**
 * Counters of a server, from its beginning. Set `size`, then call `rt_server_stats`. A connection that came is counted in one of
 * `accepted`, `refused` and `shed`.
 */
typedef struct rt_server_stats_data {
    /**
     * The size of this struct as the program knows it.
     */
    uint32_t size;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Connections that got a task.
     */
    uint64_t accepted;
    /**
     * Connections that got none: the program refused them, or the task could not be made.
     */
    uint64_t refused;
    /**
     * Connections whose task has not ended.
     */
    uint64_t live;
    /**
     * Connections that were cut because no byte came.
     */
    uint64_t cut_first_byte;
    /**
     * Connections that were cut because nothing moved.
     */
    uint64_t cut_idle;
    /**
     * Connections that were cut because their time was over.
     */
    uint64_t cut_total;
    /**
     * Connections that were closed at once because no descriptor could be had for them.
     */
    uint64_t shed;
} rt_server_stats_data;

/**
 * Notifies tasks that something changed: one of those who wait, or all of them. It belongs to no runtime.
 *
 * 0 is never a notify. The handle is good until `rt_notify_free`.
 *
 * Methods: `rt_notify_one`, `rt_notify_all`, `rt_poll_notified`, `rt_notify_free`. Made by `rt_notify_new`.
 *
 * Threads: any thread may call any method, also several at once.
 */
typedef uint64_t rt_notify;

/**
 * Permits, which tasks acquire in the order of asking: nobody overtakes who waits. It belongs to no runtime.
 *
 * A task for which there are enough permits is woken, and they are set aside for its next poll. If that poll does not
 * acquire them, or the task ends, they are for the next who waits.
 *
 * 0 is never a semaphore. The handle is good until `rt_sem_free`.
 *
 * Methods: `rt_poll_acquire`, `rt_sem_try_acquire`, `rt_sem_release`, `rt_sem_close`, `rt_sem_free`. Made by `rt_sem_new`.
 *
 * Threads: any thread may call any method, also several at once.
 */
typedef uint64_t rt_sem;

/**
 * A queue of at most so many items between any tasks and threads. Items are pointers, which mean what the program likes;
 * they come out in the order in which they went in. Who waits to send or to receive does so in the order of asking. It
 * belongs to no runtime.
 *
 * A task whose turn it is, is woken, and a place or an item is set aside for its next poll. If that poll does not ask for
 * it, or the task ends, it is for the next who waits. For a context of the program's own nothing is set aside: whoever
 * waits behind it is woken as well, and who asks first gets it.
 *
 * 0 is never a channel. The handle is good until `rt_chan_free`.
 *
 * Methods: `rt_poll_chan_send`, `rt_chan_try_send`, `rt_chan_send`, `rt_poll_chan_recv`, `rt_chan_try_recv`, `rt_chan_recv`,
 * `rt_chan_len`, `rt_chan_close`, `rt_chan_free`. Made by `rt_chan_new`.
 *
 * Threads: any thread may call any method, also several at once.
 */
typedef uint64_t rt_chan;

/**
 * One item, a pointer, that is sent once and received once. It belongs to no runtime.
 *
 * 0 is never a oneshot. The handle is good until the item was received, or all who waited heard that there will be none, or
 * `rt_oneshot_free`.
 *
 * Methods: for the sender `rt_oneshot_send`, `rt_oneshot_close`; for the receiver `rt_poll_oneshot`, `rt_oneshot_wait`,
 * `rt_oneshot_free`. Made by `rt_oneshot_new`.
 *
 * Threads: any thread may call any method, also several at once.
 */
typedef uint64_t rt_oneshot;

/**
 * An event: a flag that is set and reset, and that any number of tasks and threads wait for. It is a state and no pulse: who waits
 * sees a set only if no reset came before it looked.
 *
 * What a thread wrote before it set the event is seen by whoever finds it set.
 *
 * 0 is never an event. The handle is good until `rt_event_free`, which may come after the runtime was freed.
 *
 * Methods: `rt_event_set`, `rt_event_reset`, `rt_poll_event`, `rt_event_wait`, `rt_event_free`. Made by `rt_event_new`.
 *
 * Threads: any thread may call any method, also several at once. `rt_event_set` and `rt_event_reset` are for signal handlers too.
 */
typedef uint64_t rt_event;

/**
 * A listener: counts the deliveries of one signal to this process, from its opening on.
 *
 * A signal can have any number of listeners, of any number of runtimes; each counts all deliveries, and closing one leaves the
 * others. The library handles the signals that have listeners, and no others: not SIGCHLD for its own sake. A handler that
 * the program had installed before the first listener of the signal was opened is still called, with the mask and the flags that it
 * was installed with (all but SA_RESETHAND): calls that the signal interrupted before still end in EINTR. Where there was none,
 * the signal interrupts no calls (SA_RESTART). When the last listener was closed the signal goes on being caught: its default action
 * does not come back. In a forked child the listeners hear nothing.
 *
 * What the program sets later by sigaction(2) replaces the library's handler, and the listeners that are open hear nothing then.
 * If it is SIG_DFL or SIG_IGN, the next listener that is opened brings the library's handler back, for all listeners of the signal,
 * and with it the calls of the program's handler from before the first. If it is a handler, no listener of the signal can be
 * opened as long as it is there: install it before the first one.
 *
 * The kernel delivers a signal to a thread that does not block it. Workers do, so some thread of the program must not: the
 * main thread usually, which may meanwhile wait in `rt_run`.
 *
 * 0 is never a listener. The handle is good until `rt_signal_close`, which may come after the runtime was freed.
 *
 * Methods: `rt_poll_signal`, `rt_signal_close`. Made by `rt_signal_open`.
 *
 * Threads: any thread may call any method, also several at once. Not for signal handlers.
 */
typedef uint64_t rt_signal;

/**
 * What to run, and how. Set by `rt_process_opts_init`; zero means the default in every field but `file`. Everything is copied, or
 * used during the call only.
 */
typedef struct rt_process_opts {
    /**
     * The size of this struct as the program knows it.
     */
    uint32_t size;
    /**
     * None is known: 0.
     */
    uint32_t flags;
    /**
     * The program: a path if it has a slash (a relative one is relative to `cwd`), else searched for on this process' PATH.
     */
    const char *file;
    /**
     * Its arguments, the first of which is its name, ended by NULL. NULL: `file` alone.
     */
    char *const *argv;
    /**
     * Its environment, ended by NULL. NULL: this process'.
     */
    char *const *envp;
    /**
     * Where it runs. NULL: where this process does.
     */
    const char *cwd;
    /**
     * Its descriptor 0: `RT_STDIO_INHERIT`, `RT_STDIO_NULL`, `RT_STDIO_PIPE`, or the number (> 0) of one to copy, which stays the
     * caller's.
     */
    int32_t stdin_fd;
    /**
     * The same, for its descriptor 1.
     */
    int32_t stdout_fd;
    /**
     * The same, for its descriptor 2.
     */
    int32_t stderr_fd;
} rt_process_opts;

/**
 * A child process.
 *
 * It is held by a pidfd, which never names another process, whatever becomes of its number. The library neither handles nor
 * needs SIGCHLD, and reaps no child but those that are processes here; the program in turn must not reap them: no
 * `wait(NULL)`, no `waitpid(-1, ..)`. Nor may it ignore SIGCHLD (SIG_IGN, which may be inherited, or SA_NOCLDWAIT), for then
 * the kernel throws away how children ended: `rt_poll_process` says `-ECHILD` if the outcome went one of these ways.
 *
 * 0 is never a process. The handle is good until `rt_process_close`, which may come after the runtime was freed.
 *
 * Methods: `rt_poll_process`, `rt_process_stdio`, `rt_process_signal`, `rt_process_pid`, `rt_process_close`. Made by
 * `rt_process_spawn`, `rt_process_open`.
 *
 * Threads: any thread may call any method, also several at once.
 */
typedef uint64_t rt_process;

/**
 * How a process ended.
 */
typedef struct rt_exit {
    /**
     * What it exited with, 0 to 255; 0 if a signal ended it.
     */
    int32_t code;
    /**
     * The signal that ended it; 0 if it exited.
     */
    int32_t signal;
    /**
     * Not 0 if the signal left a core file.
     */
    uint32_t core_dumped;
} rt_exit;

/**
 * What a watch calls, on its worker, with no lock held, outside of a poll of the program's. `ready` is what is ready of what was
 * asked for, with `RT_ERROR`, `RT_READ_CLOSED` and `RT_WRITE_CLOSED` where they concern it; 0: the time has come. `fd` is the watch's
 * descriptor, or -1.
 *
 * It may call everything that does not block, `rt_watch_close` for its own watch too. One that takes long keeps others waiting.
 */
typedef void (*rt_watch_fn)(void *arg, int fd, uint32_t ready);

/**
 * A watch: a function that is called whenever a descriptor is ready for what was asked for last, or at a time. It is for
 * libraries that have callbacks and no threads, and that do not read until `-EAGAIN`: the kernel is asked before each call.
 *
 * A watch stays on one worker, and so do all that are opened near it: their functions, and the tasks that are pinned there,
 * never run at the same time, so the library needs no lock. It is a task of the library's: it counts as one, and `rt_run` goes
 * on while it is open.
 *
 * 0 is never a watch. The handle is good until `rt_watch_close`, or until its runtime has shut down.
 *
 * Methods: `rt_watch_for`, `rt_watch_at`, `rt_watch_close`. Made by `rt_watch_open`.
 *
 * Threads: any thread may call any method, also several at once, and the function may, be it for its own watch. A call on the
 * watch's worker takes effect at once; one from elsewhere does not wait for a function that is being called.
 */
typedef uint64_t rt_watch;

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
 * `-ESHUTDOWN`), aborts every task, and waits until their drop functions have run, for at most `timeout_ns`, or 10 ms if
 * that is more: what is not stuck has ended then.
 *
 * Returns how many tasks were given up: those that were inside of their poll or drop function when the time was over, and
 * pinned ones whose worker is stuck in such a task. Their drop functions will not start, what they own is never freed,
 * and they are counted in `rt_metrics`. All others have ended, and can be joined at once. A second call returns the same
 * number.
 *
 * Errors: `-EBADF`, `-EDEADLK` inside of the runtime and in a function on its threads for what blocks, `-EPERM` on a thread
 * that does not drive this current-thread runtime. Any thread. Blocks for that time at most.
 */
int64_t rt_shutdown(rt_runtime rt,
                    uint64_t timeout_ns);

/**
 * Frees a runtime. Does `rt_shutdown(rt, RT_NEVER)` first unless that was done, closes the descriptors that are still
 * registered and owned, and ends the threads. Then every handle of the runtime is stale. A thread that is stuck in a
 * task which a shutdown gave up is left alone, as is one whose `rt_block_on` waits for that, and one that has an operation
 * which the system cannot end, such as a read of a file server that hangs. Other functions of the program's that its
 * threads are inside of are waited for: wakers, hooks, those that are told an outcome.
 *
 * Returns 0, also for the handle 0. Errors, after which nothing has changed: `-EBADF`, `-EDEADLK` inside of the runtime
 * and in a function on its threads for what blocks, `-EPERM` on a thread that does not drive this current-thread
 * runtime. Any thread. Blocks.
 */
int64_t rt_free(rt_runtime rt);

/**
 * Describes the runtime in one line: its flavour, its workers, its engine and why it is that one, and how many workers have lost
 * it since.
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
 * Counts what there is in the process, so that a test can compare before and after. Fills in as much as fits into the
 * `size` that the caller set.
 *
 * Returns 0; `-EINVAL` for NULL or a bad size. Any thread. Does not block, but takes a while where there was much at some
 * time. The counts are exact if nothing comes or goes meanwhile.
 *
 * # Safety
 * `out` has as many writable bytes as its `size` says.
 */
int64_t rt_census(rt_census_data *out);

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
 * A task of the library's that makes a descriptor, such as `rt_tcp_connect`, yields an `rt_io`, which is never negative and the
 * caller's to close, or an error. A descriptor that nobody takes, with `result` NULL or by `rt_detach`, is closed.
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
 * Frees a context that `rt_cx_new` made, and drops its waker. Where it waits for a turn (at a notify, a semaphore, a channel or a
 * oneshot) its place goes with it: what it was woken for and did not take, somebody else may. What else waits with it may call
 * the waker's clone once more.
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
 * `-EPERM` for an interest in a regular file or a directory, which have no readiness, but for `RT_PRIORITY` and `RT_ERROR` in those by
 * which the system tells of changes: /proc/self/mounts, cgroup.events, /proc/pressure/memory with a trigger; `-EEXIST` if the runtime
 * has this descriptor already (not if that one was closed behind the library); `-EINVAL` for NULL or unknown bits; `-ENOMEM`;
 * `-ENOSPC` over the system's limit of watches.
 *
 * A later descriptor with the number of one that was closed behind the library is told from it, but for two that share an inode and
 * have no interest: a file that was opened again, an eventfd instead of another. That gives `-EEXIST`, and `rt_close` of the old handle
 * closes it, if `rt_forget` did not end the registration first.
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
 * event since, nothing changes. `RT_READ_CLOSED` and `RT_WRITE_CLOSED` stay. `RT_ERROR` goes, for all who wait: where another task waits
 * for errors with `MSG_ERRQUEUE`, use `rt_poll_read` and its kin or `rt_poll_try`, which take it back only if it is over.
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
 * closed by others. Errors of its own are those of `rt_poll_ready`; and, with `RT_WRITABLE`, `-EBUSY` while something is queued to be
 * sent, into which what `attempt` writes would come: `rt_poll_flush` waits for that.
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
 * the descriptor was closed behind the library (the registration ends all the same). Those that change nothing: `-EDEADLK` inside of
 * an attempt on it; `-EBUSY` while operations are at work on it, or something is queued to be sent; `-ENOMEM`. Any
 * thread. Blocks while other threads are inside of calls on this descriptor, none of which block but attempts of the program's own.
 */
int64_t rt_deregister(rt_io io);

/**
 * Closes a descriptor: the handle is stale at once, waiters wake, and their polls give `-EBADF`. close(2) is called by the last
 * call that uses the descriptor; for a borrowed one it is not called.
 *
 * Returns 0, also for the handle 0. `-EBADF`, also if the descriptor was closed behind the library: the registration ends,
 * and the number, which may be a stranger's by now, is left alone. Any thread. Does not block but as long as close(2) does: that of
 * a file may wait for its server on a network's file system, for which there is `rt_submit_close`.
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
 * As `rt_poll_read`, into a buffer of the library's, which is taken when there is something to read: while nothing comes the
 * descriptor holds none.
 *
 * Returns how many bytes were read, at most `buffer_size` (see `rt_config`), and a lease on them in `*out`, to be given back by
 * `rt_buf_release` or `rt_send_buf`; 0 at the end of the stream, without a lease; `RT_PENDING`. Errors as for `rt_poll_read`;
 * `-EPERM` also for a context that is no task's, and `-ENOMEM`.
 *
 * It does not wait for buffers. They are the worker's (`buffer_count`); if half of these are in use, the rest is left to
 * operations that receive, and memory is mapped for one more, and unmapped with its lease, which costs three system calls. So
 * there are as many as the program keeps.
 *
 * # Safety
 * `cx` is the context of this poll; `out` is writable.
 */
int64_t rt_poll_read_buf(rt_cx *cx,
                         rt_io io,
                         rt_buf *out);

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
 * recvmsg(2) in a poll, with its `flags`; `MSG_OOB` waits for `RT_PRIORITY`, and `MSG_ERRQUEUE` for `RT_ERROR`. The call never blocks,
 * whatever the descriptor does.
 *
 * Returns how many bytes came, with `msg` filled in; `RT_PENDING`. Errors as for `rt_poll_read`; with `MSG_OOB` `-EINVAL` also when no
 * urgent byte will come any more, and for one that is among the data (SO_OOBINLINE).
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
 * Connect a Unix datagram socket (`rt_poll_connect`) whose peer may be slow: for one that is only named in `msg` the kernel does not tell when
 * its queue has room. While it is full, the task is then polled again and again, between others, which costs the time that they leave.
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
 * Returns 0 when it is connected; `RT_PENDING`. Errors: the system's, such as `-ECONNREFUSED` and `-ETIMEDOUT`, and `-EISCONN` for one
 * that listens; `-EAGAIN` for a Unix socket whose listener's queue is full, for which there is no event; else as for `rt_poll_write`.
 * A close in the middle ends the attempt: `-EBADF`. What waits to be sent on a connection that fails fails with it, before that is
 * told.
 *
 * # Safety
 * `cx` is the context of this poll; `addr` has `len` readable bytes.
 */
int64_t rt_poll_connect(rt_cx *cx,
                        rt_io io,
                        const struct sockaddr *addr,
                        socklen_t len);

/**
 * Ends a conversation, in polls, so that the peer hears all of it: waits until what is queued was sent, shuts the sending side down,
 * and drops what the peer still sends, until its end. Closing a socket that has something unread resets the connection instead,
 * and the peer may lose what it has not read. Then close it, whatever this returned.
 *
 * `*left`, which the caller keeps and sets before the first call, says how many bytes may be dropped; it counts down. At 0, too, the
 * end is waited for, or the one byte that is too many. How long a peer may take is said by
 * `rt_poll_deadline(cx, &slot, at, rt_poll_linger(cx, io, &left))`.
 *
 * Returns 0 at the peer's end, at once if that was seen before; `RT_PENDING`. `-EMSGSIZE`: more came, and was not read. `-ECONNRESET`
 * and other errors of the system's: the peer hears nothing any more. `-EBUSY` while an operation receives, `-EINVAL` for NULL, for a
 * descriptor that blocks or that is not registered for `RT_READABLE`: the peer was told nothing. `-ENOTSOCK`; `-ENOTCONN`; `-EBADF`,
 * `-ESHUTDOWN`; `-EPERM` for the context. In a poll, or with a context of the program's own. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `left` is readable and writable.
 */
int64_t rt_poll_linger(rt_cx *cx,
                       rt_io io,
                       size_t *left);

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
 * Submits: connect. Outcome: 0, or the system's error, which is `-EAGAIN` where the queue of a Unix listener is full
 * (`rt_poll_unix_connect` waits for that). Otherwise as `rt_submit_accept`.
 *
 * It has begun when this returns: what is sent after that, by whomever, goes when there is a connection. What waits to be
 * sent on one that fails fails with it, before that is told, and a stream to which something was sent before, in vain, begins anew.
 * One that was ended on the way, by a cancel or its deadline, goes on in the socket: the next one there waits for it.
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
 * system's error. Otherwise as `rt_submit_accept`. A socket of datagrams that was shut down for reading gives 0 as well, if none is
 * queued.
 *
 * `MSG_WAITALL` on a stream waits for all `n` bytes: if there are fewer, the end, an error or a cancel came after them. With
 * `MSG_PEEK` or `MSG_TRUNC` it is `-EINVAL` there. As in recv(2), it does nothing for messages. `MSG_DONTWAIT` does nothing at all.
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
 * Submits: send all of `buf`, with the `flags` of send(2), of which `MSG_DONTWAIT` does nothing. Outcome: `n`, or an error. Otherwise
 * as `rt_submit_accept`.
 *
 * On a stream, and on a connection of packets (SOCK_SEQPACKET), it goes after everything that was submitted or given to `rt_send`
 * before, by whomever. One that is cancelled before any of it went leaves no trace, but that its bytes may count as queued for a
 * while where more than 64 sends are; one that was cut short makes later sends fail with `-EPIPE`. A packet goes whole or not at all,
 * and harms no other. No SIGPIPE is raised.
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
 * Submits: recvmsg(2) with its `flags`. Outcome: how many bytes came, with `msg` filled in. Otherwise as `rt_submit_recv`, but that
 * `MSG_WAITALL` is `-EINVAL` on a stream. If nobody takes the outcome, descriptors that came are closed, and `msg_controllen` is 0.
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
 * Submits: sendmsg(2) with its `flags`. Outcome: all bytes of the message, or an error. Otherwise as `rt_submit_send`; also
 * `-EMSGSIZE` for more than 1,024 parts, and `-EINVAL` for lengths that no result can tell. Control data goes with the first byte. For a Unix datagram socket whose peer may be slow see `rt_poll_sendmsg`.
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
 * socket it is `rt_submit_send`. Otherwise as `rt_submit_read`. No SIGPIPE is raised, nor SIGXFSZ on files: beyond RLIMIT_FSIZE there is
 * `-EFBIG`, unless the limit was none and is set between the submission and the write.
 *
 * `flags`, for files, are those of pwritev2(2) that <sys/uio.h> has: with `RWF_DSYNC` the outcome comes when the disk has these bytes
 * and what it takes to find them, as after `rt_submit_fdatasync`; with `RWF_SYNC`, as after `rt_submit_fsync`; but of these bytes
 * alone, so that it says nothing of what was written before. With `RWF_APPEND` they go to the end of the file, wherever that is
 * then, and `offset` only says by `RT_OFFSET_CURRENT` that the file's position moves there. `-EINVAL` for others, and for any on
 * what is no file.
 *
 * # Safety
 * `cx` is the context of this poll; `buf` has `n` readable bytes until the operation is over; `out` is writable.
 */
int64_t rt_submit_write(rt_cx *cx,
                        rt_io io,
                        const void *buf,
                        size_t n,
                        uint64_t offset,
                        int flags,
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
                         int flags,
                         rt_op *out);

/**
 * Submits: splice(2), `n` bytes from one descriptor to another, one of which is a pipe. Outcome: how many bytes moved, 0 at the
 * end, or the system's error. It waits until something can be moved. Offsets as for `rt_submit_read`. Otherwise as
 * `rt_submit_accept`.
 *
 * Into a stream, or a connection of packets, it has its place in the order of `rt_submit_send`. While it waits, be it for something
 * to read, all that was submitted or given to `rt_send` after it waits as well; cancelling it lets them go. One that fails leaves no
 * trace. For `rt_poll_flush` it is one byte.
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
 * `rt_submit_accept`. Of datagrams, those that found room go before it, and those that were given to `rt_send`; an operation that
 * still waits for room does not.
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
 * then. Without `done` a connection or file that it yields is closed, as are descriptors that come with a message; memory that it
 * was given is the library's until `rt_poll_quiesce` returns 0, or the task's drop function runs.
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
 * Waits until none of the task's operations goes on any more, forgotten ones included, and their functions were called: then the
 * library holds none of the task's memory. Outcomes that were not taken stay.
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
 * without readiness, owned; or the system's error. The open of a FIFO without O_NONBLOCK waits for the other end, on a thread that
 * nobody may be able to call back: use O_NONBLOCK. Otherwise as `rt_submit_accept`.
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
 * A receiver has at most about 16 buffers that wait for its task or are leased from it, of what is no stream about 32 on io_uring;
 * then it pauses until fewer than 8 are left, or fewer than 16 and the task waits for more. When the worker has no buffer left its
 * receivers wait for one, in turn. If none comes back and the worker has nothing else to do, one of which nothing waits for its task
 * gets one from outside (mapped when there is something, unmapped with its lease), and the next when that came back or the worker has
 * some again; so who leaves what came on many connections stops none of the others. On sockets with message boundaries an empty
 * message ends the operation as the end of a stream does. Datagrams have no end: that their socket was shut down for reading does
 * not end it.
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
 * message; one that the system refuses when its turn comes, as it does one that is too long, is lost, which is told to those who
 * submit a send instead.
 *
 * Returns `n`. On failure nothing was taken: `-EAGAIN` when more is queued than the limit of `rt_config`: `rt_poll_flush` waits for
 * that; `-EPIPE` after an earlier send failed or was cut short, and without SIGPIPE; the system's errors; `-EBADF`; `-ENOTSOCK`;
 * `-EINVAL` for NULL with a length, and for a socket that blocks; `-ENOMEM`: if a part had gone by then, it was cut short. Any thread.
 * Does not block.
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
 * Waits until at most `low_water` bytes are queued to be sent on a stream, counted as for the limit of `rt_config`.
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
 * Adds an operation of the calling task, a timer, or a task that may be joined. `key` is the program's, and need not be unique.
 * What is ready already, has fired, or can be joined, is so in the set at once.
 *
 * A member whose outcome is taken elsewhere, that is forgotten, cancelled, detached, or whose task ends, is ready too: its poll
 * says `-EBADF` then. A task or a timer can be in several sets; each of them reports it, and one join gets the result.
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
 * Returns 0, and in `*key` the member's key: it has left the set, and its `rt_poll_op`, `rt_poll_accept_next`, `rt_poll_recv_next`,
 * `rt_poll_timer` or `rt_poll_join`, called next, will not be pending. Members come in the order in which they became ready, each once.
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
 * Ends a timer, and makes its handle stale. Tasks that wait for it are woken, to see `-EBADF`; but not the one in whose poll it is
 * ended: where that waited for it earlier in the same poll, it asks again.
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
 * Waits until a time. `*slot` is the program's place for a timer: 0 at first, and 0 again when this is ready. Calling it with another
 * time than before moves the timer, which is cheap: so an idle timeout is one call beside each read. A time that is computed anew
 * in each poll, such as `rt_now() + timeout`, never comes.
 *
 * Returns 0 at the time, at once if it is over; `RT_PENDING`; `-EINVAL` for NULL; `-EBADF` for a slot that holds no timer; `-ENOMEM`; `-EPERM` for the context.
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
 * Of a period's calls, those whose time had come before an earlier one was over are left out: the next is due at the first of `at`,
 * `at + period_ns`, `at + 2 * period_ns`, .. that has not come. So with `at` 0 one call is made at once, however long the clock runs.
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
                   rt_timer_fn call,
                   void *arg,
                   rt_drop_fn drop,
                   rt_task *out);

/**
 * Runs a function that may block, such as a computation that takes long or a foreign library's call, as a task: on one of
 * the runtime's threads for that, of which there are `rt_config::blocking_threads` at most. What finds none free waits for
 * its turn.
 *
 * The task's result is what `run` returned, any number, unchanged. `rt_abort`, and a shutdown, take back what no thread has
 * begun: `run` is never called then, and the result is `-ECANCELED`. What runs cannot be stopped: it goes on, and what it
 * returns is the result. Where the call cannot be queued or no thread can be had, the error is the result: `-ENOMEM`,
 * `-EAGAIN`.
 *
 * `drop(arg)` is called once, when `run` has returned or will not be called, before the end can be joined; on a worker, as
 * for all tasks. Only for a call that a shutdown gave up because it did not return, it never is. On a current-thread runtime
 * the call begins when the runtime is driven.
 *
 * Returns 0, and the task in `*out`; with `out` NULL it is detached. The argument is the task's until `drop` (which may be
 * NULL) was called with it. On failure the caller keeps it, and neither function is called: `-EBADF`; `-EINVAL` without
 * `run`; `-ESHUTDOWN`; `-ENOMEM`. Any thread. Does not block.
 *
 * # Safety
 * `run` and `drop` may be called with `arg` on any thread, one call at a time. `out` is NULL or writable.
 */
int64_t rt_spawn_blocking(rt_runtime rt,
                          rt_call_fn run,
                          void *arg,
                          rt_drop_fn drop,
                          rt_task *out);

/**
 * Submits: call `run(arg)` on a thread that may block, as `rt_spawn_blocking` does. Outcome: what it returned, any number but
 * `RT_PENDING`; or `-ENOMEM`, `-EAGAIN` where it was not called because no thread can be had.
 *
 * A cancel, and a deadline, take back what no thread has begun: the outcome is `-ECANCELED` or `-ETIME`. What runs goes on;
 * its return is the outcome. `arg` is in use until the outcome was taken, or the task's drop function runs.
 *
 * Returns 0, and the operation in `*out`. On failure nothing was submitted, and `*out` is 0: `-EINVAL` for NULL; `-EPERM` outside of
 * a task's poll; `-ENOMEM`. In a poll. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `run` may be called with `arg` on any thread; `out` is writable.
 */
int64_t rt_submit_call(rt_cx *cx,
                       rt_call_fn run,
                       void *arg,
                       rt_op *out);

/**
 * Finds the addresses of `host`, a name or a literal address, by the C library's getaddrinfo(3): hosts files, DNS, and
 * whatever else the machine is configured for.
 *
 * `*slot` is 0 in the first call and again when this is ready; in between it is an operation of the task, which `rt_cancel`
 * and `rt_op_deadline` accept. A state that is dropped needs to do nothing about it. A literal address is answered at once,
 * in any context; names are asked for on threads of their own share, `rt_config::resolver_threads` of them, so they neither
 * keep file operations and other calls from their threads nor wait for those.
 *
 * Returns how many addresses were written to `out`, at most `max`, best first, each with `port`. `RT_PENDING`: the task will
 * be woken. `-ENOENT`: there is no such name, or it has no address of the family that was asked for; `-EAGAIN`: the servers do
 * not answer now; `-EIO`: they fail; `-ENODEV`: the scope of a literal is no interface; `-ENOMEM`; what the system said
 * otherwise. `-ECANCELED` after a cancel, `-ETIME` at the deadline: both end it at once, though the thread that asks cannot be
 * interrupted; it goes on alone, until the resolver gives up, and counts as one of its share until then. `-EINVAL` for NULL, a
 * `max` of 0 or unknown flags; `-EBADF` for a stale `*slot`; `-EPERM` for a name outside of tasks.
 *
 * `host` is copied by the first call, and may be NULL in later ones. `out` is written when this is ready, and not used in
 * between. In a poll. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `slot` is writable; `host` is a C string in the first call; `out` has room for `max`.
 */
int64_t rt_poll_resolve(rt_cx *cx,
                        rt_op *slot,
                        const char *host,
                        uint16_t port,
                        uint32_t flags,
                        rt_addr *out,
                        uint32_t max);

/**
 * Makes an address of a text: "1.2.3.4", "1.2.3.4:80", "::1", "[::1]:80", "[fe80::1%eth0]:80", "unix:/path", or "unix:@name" for the
 * abstract name of a Unix socket. `port` is for a text without one. No host is looked up: that is `rt_poll_resolve`.
 *
 * Returns 0 and the address in `*out`; `-EINVAL` for NULL, or a text that is none of these; `-ENODEV` for an interface that does
 * not exist; `-ENAMETOOLONG` for more than 108 bytes of a path, or 107 of a name behind the '@'. On failure `out->len` is 0. Any
 * thread. Does not block.
 *
 * # Safety
 * `text` is a string; `out` is writable.
 */
int64_t rt_addr_parse(const char *text,
                      uint16_t port,
                      rt_addr *out);

/**
 * The text of an address, which `rt_addr_parse` understands: "1.2.3.4:80", "[::1]:80", "[fe80::1%2]:80", "unix:/path",
 * "unix:@name". A Unix socket without a name is "unix:", and a NUL in an abstract name is shown as '@'.
 *
 * Writes at most `len` bytes with the NUL to `out`, and returns the length of the whole text without it; `-EAFNOSUPPORT` for
 * other families; `-EINVAL` for NULL, or what is no address. Any thread. Does not block.
 *
 * # Safety
 * `addr` is readable; `out` is NULL or has `len` writable bytes.
 */
int64_t rt_addr_text(const rt_addr *addr,
                     char *out,
                     size_t len);

/**
 * The port of an IPv4 or IPv6 address.
 *
 * Returns it; `-EAFNOSUPPORT` for other families; `-EINVAL` for NULL, or what is no address. Any thread. Does not block.
 *
 * # Safety
 * `addr` is readable.
 */
int64_t rt_addr_port(const rt_addr *addr);

/**
 * Where a socket is: the address, and the port that the kernel chose for a port of 0.
 *
 * Returns 0 and the address in `*out`; `-EBADF`; `-ENOTSOCK`; `-EINVAL` for NULL. Any thread. Does not block.
 *
 * # Safety
 * `out` is writable.
 */
int64_t rt_local_addr(rt_io io,
                      rt_addr *out);

/**
 * Where a socket's peer is. As `rt_local_addr`; also `-ENOTCONN`.
 *
 * # Safety
 * `out` is writable.
 */
int64_t rt_peer_addr(rt_io io, rt_addr *out);

/**
 * Sets every field to its default. Call it as `rt_tcp_opts_init(&opts, sizeof opts)`.
 *
 * Returns 0, or `-EINVAL` for NULL or a size that is too small. Any thread.
 *
 * # Safety
 * `opts` has `size` writable bytes.
 */
int64_t rt_tcp_opts_init(rt_tcp_opts *opts, size_t size);

/**
 * Listens for TCP connections at an address of this machine: `host` is an IPv4 or IPv6 address (no name), or NULL for all of them, of
 * both families, or of IPv4 only where the system has no IPv6. With a `port` of 0 the kernel chooses one: see `rt_local_addr`. `opts`
 * may be NULL. An address that another listener just left can be had at once (SO_REUSEADDR).
 *
 * Returns 0 and the listener in `*out`, which the caller must close: non-blocking, close-on-exec, for `RT_READABLE | RT_WRITABLE`,
 * owned. On failure `*out` is 0: `-EADDRINUSE`, `-EADDRNOTAVAIL`, `-EACCES` and others of the system's; `-EINVAL` for NULL, for
 * what is no address, for options out of range; `-ENODEV` for the scope of an address; `-EBADF`; `-ENOMEM`. Any thread.
 * Does not block.
 *
 * # Safety
 * `host` is NULL or a string; `opts` is NULL or as its `size` says; `out` is writable.
 */
int64_t rt_tcp_listen(rt_runtime rt,
                      const char *host,
                      uint16_t port,
                      const rt_tcp_opts *opts,
                      rt_io *out);

/**
 * Connects to a host, by name or address: spawns a task that looks the name up, and tries its addresses, IPv4 and IPv6 in turns,
 * each 250 ms after the one before, or at once when one fails. The first that connects wins, and the others are closed. `opts` may
 * be NULL. This is for threads; a task is served better by `rt_poll_tcp_connect`.
 *
 * Returns 0, and the task in `*out`, which the caller must join or detach. Its join yields the connection, an `rt_io`: non-blocking,
 * close-on-exec, for `RT_READABLE | RT_WRITABLE`, owned; or the error of the attempt that failed last: `-ECONNREFUSED`,
 * `-ETIMEDOUT`, `-EHOSTUNREACH` and others of the system's; `-EAFNOSUPPORT` when no address is of the local address's family;
 * those of `rt_poll_resolve` for the name; `-ETIME` at the deadline; `-ESHUTDOWN`. `rt_abort` ends the attempt. A connection that nobody takes,
 * as after `rt_detach`, is closed.
 *
 * On failure `*out` is 0: `-EINVAL` for NULL, for a name that is empty or not UTF-8, for options out of range; `-EAFNOSUPPORT` for a
 * local address of another family; `-EBADF`; `-ESHUTDOWN`; `-ENOMEM`. Any thread. Does not block.
 *
 * # Safety
 * `host` is a string; `opts` is NULL or as its `size` says; `out` is writable.
 */
int64_t rt_tcp_connect(rt_runtime rt,
                       const char *host,
                       uint16_t port,
                       const rt_tcp_opts *opts,
                       rt_task *out);

/**
 * Connects to a host, as `rt_tcp_connect` does, for the task that is polled: on its worker, and with nothing to clean up.
 *
 * `*slot` is 0 in the first call and again when this is ready; in between it is an operation of the task, which `rt_cancel` and
 * `rt_op_deadline` accept. A state that is dropped needs to do nothing about it: the attempt ends, and what it made is closed. `host`
 * and `opts` are copied by the first call, and may be NULL in later ones.
 *
 * Returns 0 and the connection in `*out`, which the caller must close: as the join of `rt_tcp_connect` yields it. `RT_PENDING`. Errors
 * are those of `rt_tcp_connect` and of its join; `-ECANCELED` after a cancel, `-ETIME` at either deadline; `-EINVAL` also for a
 * `*slot` with another operation, `-EBADF` for a stale one; `-EPERM` outside of tasks. In a poll. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `slot` and `out` are writable; the others as for `rt_tcp_connect`, in the first call.
 */
int64_t rt_poll_tcp_connect(rt_cx *cx,
                            rt_op *slot,
                            const char *host,
                            uint16_t port,
                            const rt_tcp_opts *opts,
                            rt_io *out);

/**
 * Sets every field to its default. Call it as `rt_unix_opts_init(&opts, sizeof opts)`.
 *
 * Returns 0, or `-EINVAL` for NULL or a size that is too small. Any thread.
 *
 * # Safety
 * `opts` has `size` writable bytes.
 */
int64_t rt_unix_opts_init(rt_unix_opts *opts, size_t size);

/**
 * Listens for connections at a path, or at "@name": an abstract name, without a file. `opts` may be NULL. The mode is set before
 * anybody can connect. The file stays when the listener is closed; the program removes it, or begins with `RT_UNIX_UNLINK_STALE`.
 *
 * Returns 0 and the listener in `*out`, which the caller must close: non-blocking, close-on-exec, for `RT_READABLE | RT_WRITABLE`,
 * owned. On failure `*out` is 0, and a file that was made is removed: `-EADDRINUSE` when there is a file, or with `RT_UNIX_UNLINK_STALE` one
 * that is no socket, or a socket that somebody listens on; `-ENAMETOOLONG` for more than 108 bytes; `-ENOENT`, `-EACCES` and others
 * of the system's; `-EINVAL` for NULL, for an empty path, for options out of range; `-EBADF`; `-ENOMEM`.
 *
 * Any thread. Does not block, but with `RT_UNIX_UNLINK_STALE` waits for others that do the same in the directory at that moment (it
 * is locked by flock(2)).
 *
 * # Safety
 * `path` is a string; `opts` is NULL or as its `size` says; `out` is writable.
 */
int64_t rt_unix_listen(rt_runtime rt,
                       const char *path,
                       const rt_unix_opts *opts,
                       rt_io *out);

/**
 * Connects to a path, or to "@name": spawns a task. While the listener's queue is full it tries again, until the deadline. `opts`
 * may be NULL.
 *
 * Returns 0, and the task in `*out`, which the caller must join or detach. Its join yields the connection, an `rt_io`, as that of
 * `rt_tcp_connect` does; or the system's error, such as `-ECONNREFUSED`, `-ENOENT`, `-EACCES`, `-EPROTOTYPE` for a socket of another kind;
 * or `-ETIME` at the deadline.
 *
 * On failure `*out` is 0: `-ENAMETOOLONG` for more than 108 bytes; `-EINVAL` for NULL, for an empty path, for options out of range;
 * `-EBADF`; `-ESHUTDOWN`; `-ENOMEM`. Any thread. Does not block.
 *
 * # Safety
 * `path` is a string; `opts` is NULL or as its `size` says; `out` is writable.
 */
int64_t rt_unix_connect(rt_runtime rt,
                        const char *path,
                        const rt_unix_opts *opts,
                        rt_task *out);

/**
 * Connects to a path, or to "@name", as `rt_unix_connect` does, for the task that is polled. The slot, and what is copied and returned,
 * are as for `rt_poll_tcp_connect`; the errors those of `rt_unix_connect` and of its join.
 *
 * # Safety
 * `cx` is the context of this poll; `slot` and `out` are writable; the others as for `rt_unix_connect`, in the first call.
 */
int64_t rt_poll_unix_connect(rt_cx *cx,
                             rt_op *slot,
                             const char *path,
                             const rt_unix_opts *opts,
                             rt_io *out);

/**
 * Makes two Unix sockets, each the other's peer. `kind` is `SOCK_STREAM`, `SOCK_SEQPACKET` or `SOCK_DGRAM`.
 *
 * Returns 0 and the two in `out[0]` and `out[1]`, which the caller must close: non-blocking, close-on-exec, for
 * `RT_READABLE | RT_WRITABLE`, owned. On failure both are 0: `-EMFILE` and others of the system's; `-EINVAL` for NULL, or another kind;
 * `-EBADF`; `-ENOMEM`. Any thread. Does not block.
 *
 * # Safety
 * `out` has room for two.
 */
int64_t rt_unix_pair(rt_runtime rt,
                     int kind,
                     rt_io *out);

/**
 * Who is at the other end of a Unix socket: who connected, or listened, or made the pair, as it was then.
 *
 * Returns 0 and who in `*out`; `-ENOTCONN`; `-EAFNOSUPPORT` for another socket; `-ENOTSOCK`; `-EBADF`; `-EINVAL` for NULL. Any thread. Does
 * not block.
 *
 * # Safety
 * `out` is writable.
 */
int64_t rt_unix_peer(rt_io io,
                     rt_unix_cred *out);

/**
 * Sends, in a poll, bytes over a Unix socket, and `count` descriptors, which go with the first of them. The caller keeps its
 * descriptors, and may close them when this returned.
 *
 * Returns how many bytes went, which may be fewer: then the rest is to be sent without descriptors, for all of them went.
 * `RT_PENDING`: nothing was sent, and the call is to be repeated. Errors as for `rt_poll_write`; `-EINVAL` also for more than 253
 * descriptors, and for some without a byte to go with; `-EAFNOSUPPORT` for descriptors over another socket; `-ETOOMANYREFS` when too
 * many are on their way; for a number that is no descriptor `-EBADF`, as for a stale handle. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `buf` has `n` readable bytes; `fds` has `count` numbers.
 */
int64_t rt_poll_send_fds(rt_cx *cx,
                         rt_io io,
                         const void *buf,
                         size_t n,
                         const int *fds,
                         uint32_t count);

/**
 * Receives, in a poll, bytes from a Unix socket, and the descriptors that came with them. `*count` is how many descriptors `fds` has
 * room for; 253 is enough for all that can come at once. A receive ends where descriptors come with the next bytes.
 *
 * Returns how many bytes came, 0 at the end of the stream; `*count` is then how many descriptors are in `fds`, which are close-on-exec
 * and the caller's to close. Bytes are never lost for the sake of descriptors: those without room, here or in the process, are
 * closed, and `*flags`, which may be NULL, is `RT_FDS_TRUNCATED`, else 0. `RT_PENDING`, after which nothing changed and the call is to be
 * repeated. Errors as for `rt_poll_read`; then `*count` is as it was. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `buf` has `n` writable bytes; `count` is writable, and `fds` has room for `*count`; `flags` is
 * NULL or writable.
 */
int64_t rt_poll_recv_fds(rt_cx *cx,
                         rt_io io,
                         void *buf,
                         size_t n,
                         int *fds,
                         uint32_t *count,
                         uint32_t *flags);

/**
 * Sets every field to its default. Call it as `rt_udp_opts_init(&opts, sizeof opts)`.
 *
 * Returns 0, or `-EINVAL` for NULL or a size that is too small. Any thread.
 *
 * # Safety
 * `opts` has `size` writable bytes.
 */
int64_t rt_udp_opts_init(rt_udp_opts *opts, size_t size);

/**
 * Makes a UDP socket at an address of this machine: `host` and `port` are as for `rt_tcp_listen`. `opts` may be NULL.
 *
 * Returns 0 and the socket in `*out`, which the caller must close: non-blocking, close-on-exec, for `RT_READABLE | RT_WRITABLE`,
 * owned. Errors as for `rt_tcp_listen`; `-ENOPROTOOPT` for `RT_UDP_GRO` on a system without it (before Linux 5.0). Any thread. Does not
 * block.
 *
 * # Safety
 * `host` is NULL or a string; `opts` is NULL or as its `size` says; `out` is writable.
 */
int64_t rt_udp_bind(rt_runtime rt,
                    const char *host,
                    uint16_t port,
                    const rt_udp_opts *opts,
                    rt_io *out);

/**
 * Gives a UDP socket a peer: datagrams without an address go to it, only its datagrams come, and what the network says of it is an
 * error of a later call. NULL takes the peer away, and leaves the socket its port. What comes meanwhile to one that the system chose
 * may be lost, as that is bound again.
 *
 * Returns 0; the system's errors, such as `-ENETUNREACH`, or `-EADDRINUSE`: the peer is gone, and so is the port, to another socket;
 * `-EPROTOTYPE` for a socket without datagrams; `-ENOTSOCK`; `-EBADF`; `-EINVAL` for what is no address. Any thread. Does not block.
 *
 * # Safety
 * `addr` is NULL or readable.
 */
int64_t rt_udp_connect(rt_io io,
                       const rt_addr *addr);

/**
 * Receives, in a poll, up to `n` datagrams with one call, as many as are there, from any socket with datagrams. Descriptors
 * that come along, to a Unix socket, are closed: those are for `rt_poll_recv_fds`.
 *
 * Returns how many came, at least 1 and at most `RT_DATAGRAMS_MAX`: the first so many of `v` are filled in, and their `len` is to be set
 * anew before they are used again. `RT_PENDING`, after which nothing changed and the call is to be repeated. Errors: `-ECONNREFUSED` and
 * others that the network told a socket with a peer, else as for `rt_poll_read`; `-EINVAL` also for an `n` of 0. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `v` has `n` entries, whose buffers are writable.
 */
int64_t rt_poll_recv_many(rt_cx *cx,
                          rt_io io,
                          rt_datagram *v,
                          uint32_t n);

/**
 * Sends, in a poll, up to `n` datagrams with one call, in their order, as many as there is room for.
 *
 * Returns how many went, at least 1 and at most `RT_DATAGRAMS_MAX`; `v` stays as it is. `RT_PENDING`: none went, and the call is to be
 * repeated. Errors are those of the first that did not go, once those before it went: `-EMSGSIZE` for one that is too long, or whose segments
 * are; `-EDESTADDRREQ` for one without an address; `-ECONNREFUSED` and others that the network told; else as for `rt_poll_write`.
 * `-EINVAL` also for an `n` of 0, an address that is none, a `segment` of more than 65535 bytes, more segments than the
 * kernel takes (64, or 128 since Linux 6.9), and any segments on a socket that is not UDP's, or a kernel without them (before Linux
 * 4.18); `-EIO` where the network cannot have its checksums made. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `v` has `n` entries, whose buffers are readable.
 */
int64_t rt_poll_send_many(rt_cx *cx,
                          rt_io io,
                          rt_datagram *v,
                          uint32_t n);

/**
 * Fills a struct of options with the defaults. `size` is the size of the program's struct.
 *
 * Returns 0; `-EINVAL` for NULL and a size that cannot be. Any thread. Does not block.
 *
 * # Safety
 * `opts` points to `size` writable bytes.
 */
int64_t rt_stream_opts_init(rt_stream_opts *opts, size_t size);

/**
 * Makes a stream over `io`, which must not block. `opts` may be NULL.
 *
 * Returns 0, and the stream in `*out`. On failure `*out` is 0: `-EBADF` for a stale `io`; `-EINVAL` for NULL, options of a wrong size,
 * and a descriptor that blocks; `-ENOMEM`. Any thread. Does not block.
 *
 * # Safety
 * `opts` is NULL or points to as many bytes as its size says; `out` is writable.
 */
int64_t rt_stream_new(rt_io io,
                      const rt_stream_opts *opts,
                      rt_stream *out);

/**
 * Frees a stream, and not its `rt_io`. What was written and not sent is lost, and what was received and not taken. Lines that
 * it gave are gone. A task that waits in a call of the stream is not woken. Where others are to read from the `rt_io` now, the task
 * that read waits by `rt_poll_quiesce` until they can.
 *
 * Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_stream_free(rt_stream stream);

/**
 * Reads, in a poll, into `buf`: waits until there is something, then gives at most `n` bytes.
 *
 * Returns how many bytes there are; 0 at the end of the stream, and for an `n` of 0; `RT_PENDING`. The end, and an error that
 * breaks the stream, such as `-ECONNRESET`, come after everything that was received before, and then each time; a
 * broken stream fails to write, too.
 *
 * Errors of this and the other reading calls: the system's; `-EBADF` for a stale stream or `rt_io`; `-ESHUTDOWN`; `-EINVAL` for NULL,
 * and an `rt_io` that is not registered for `RT_READABLE`; `-EPERM` for the context; `-EBUSY`: another call has the stream, or
 * something else receives on the `rt_io`; `-ENOMEM`. If what was written cannot be sent, a call that would wait returns that error:
 * once, or, where it is for want of memory, each time that it tries. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `buf` has `n` writable bytes.
 */
int64_t rt_poll_stream_read(rt_cx *cx,
                            rt_stream stream,
                            void *buf,
                            size_t n);

/**
 * Fills, in polls, all `n` bytes of `buf`.
 *
 * Returns `n`; `RT_PENDING`; `-ENODATA`: the end came first. Until there are `n` bytes what came is in the stream still, for
 * the next reading call, whichever that is, and `buf` has nothing that counts. Other errors as for `rt_poll_stream_read`. Does not
 * block.
 *
 * # Safety
 * `cx` is the context of this poll; `buf` has `n` writable bytes.
 */
int64_t rt_poll_read_exact(rt_cx *cx,
                           rt_stream stream,
                           void *buf,
                           size_t n);

/**
 * Reads, in polls, the next line: everything up to and with the next byte `delimiter`.
 *
 * Returns 1 and the line in `*line` and `*len`, the stream's own memory, which is good until the next reading call, or
 * `rt_stream_free`. What comes before the end of the stream without a delimiter is the last line. 0 at the end, with NULL
 * in `*line`; `RT_PENDING`.
 *
 * `-EMSGSIZE`: the line is longer than the limit. It stays in the stream, for `rt_poll_stream_read` to take; this call would say the
 * same again. `-EINVAL` also for a `delimiter` that is no byte. Other errors as for `rt_poll_stream_read`. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `line` and `len` are writable.
 */
int64_t rt_poll_read_until(rt_cx *cx,
                           rt_stream stream,
                           int delimiter,
                           const void **line,
                           size_t *len);

/**
 * Waits until at least `at_least` bytes can be looked at, in one piece; 0 counts as 1. `rt_stream_consume` takes some of them.
 *
 * Returns how many there are, which may be more, and fewer only if the end of the stream comes after them; where they are in
 * `*at`, and their number in `*len`. They are the stream's own memory, good until the next reading call. 0 at the end, with NULL in
 * `*at`; `RT_PENDING`. `-EMSGSIZE` for more than the limit. Other errors as for `rt_poll_stream_read`. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `at` and `len` are writable.
 */
int64_t rt_poll_fill(rt_cx *cx,
                     rt_stream stream,
                     size_t at_least,
                     const void **at,
                     size_t *len);

/**
 * Takes `n` bytes that `rt_poll_fill` showed. A reading call, in that bytes shown before are gone.
 *
 * Returns 0; `-EINVAL`: there are not so many, and none was taken; `-EBADF`; `-EBUSY` as for `rt_poll_stream_read`. Any thread. Does
 * not block.
 */
int64_t rt_stream_consume(rt_stream stream,
                          size_t n);

/**
 * Writes, in polls, all `n` bytes of `buf`: copies them if the buffer has room, else sends what is buffered and as much of them as
 * must go, in one piece.
 *
 * Returns `n` when all were taken; then `buf` is the caller's again. `RT_PENDING`: to be called again with the same `buf` and `n`; until
 * that is done other writes get `-EBUSY`, if some bytes went, and `-EPIPE` when the task, or the context, has ended without it.
 *
 * Errors: the system's, such as `-ECONNRESET` and `-EPIPE`, which never comes with a SIGPIPE. They are the end of writing: what is
 * buffered is lost, and every later write and flush says the same. Also: `-EBADF`, `-ESHUTDOWN`; `-EINVAL` for NULL, and an `rt_io`
 * that is not registered for `RT_WRITABLE`; `-EPERM` for the context; `-EBUSY`, also for what must be sent while `rt_send` has something
 * queued; `-ENOMEM`.
 * Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `buf` has `n` readable bytes, the same in each call.
 */
int64_t rt_poll_stream_write(rt_cx *cx,
                             rt_stream stream,
                             const void *buf,
                             size_t n);

/**
 * Sends, in polls, what was written and is buffered.
 *
 * Returns 0 when the system has it all; `RT_PENDING`. Errors as for `rt_poll_stream_write`. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll.
 */
int64_t rt_poll_stream_flush(rt_cx *cx,
                             rt_stream stream);

/**
 * Sets every field to its default. Call it as `rt_serve_opts_init(&opts, sizeof opts)`.
 *
 * Returns 0, or `-EINVAL` for NULL or a size that is too small. Any thread.
 *
 * # Safety
 * `opts` has `size` writable bytes.
 */
int64_t rt_serve_opts_init(rt_serve_opts *opts, size_t size);

/**
 * Serves what comes to a listener: a listening socket that does not block, registered with this runtime for `RT_READABLE` and
 * not used otherwise. `opts` may be NULL. `on_connection` is called with `arg` for each connection; `*out` is written before
 * that.
 *
 * When no descriptor can be had for a connection (EMFILE), one that the server keeps in reserve is given up, the connection accepted
 * and closed at once, so that its client learns of it; then the reserve is taken again. Where it cannot be, accepting pauses until
 * the library closes a descriptor, or for 100 ms.
 *
 * Returns 0, and the server in `*out`. The listener is the server's then, and its handle not to be used any more (closing
 * it stops the server). On failure `*out` is 0 and the listener stays the caller's: `-EBADF`; `-EINVAL` for NULL, an unknown mode or
 * flags, a bad size, a socket that does not listen, blocks or was not registered for `RT_READABLE`, and for
 * `RT_SERVE_REUSEPORT` without SO_REUSEPORT, or with what others cannot be given: a filter that is an eBPF program, or an option
 * that the system refuses to this process; `-ENOTSOCK`; `-EPERM` for a descriptor of another runtime; `-EBUSY` while operations are
 * at work on it; `-ESHUTDOWN`; `-ENOMEM`; for the further descriptors of a mode what the system says, such as `-EMFILE`. Any
 * thread. Does not block.
 *
 * # Safety
 * `on_connection` may be called with `arg` on any thread, in modes but `RT_SERVE_SHARED` by several at once, until the server has
 * drained or the runtime was freed. `opts` is NULL or as its `size` says; `out` is writable.
 */
int64_t rt_serve(rt_runtime rt,
                 rt_io listener,
                 const rt_serve_opts *opts,
                 rt_accept_fn on_connection,
                 void *arg,
                 rt_server *out);

/**
 * Stops accepting. What was in the backlog at this time is still served, as places become free, so that no client that is
 * connected already is reset; then the listener is closed, on the worker that accepts. (A client that connects in between may be
 * reset, as the kernel does with what a listener leaves behind.) After `rt_poll_drain` was ready it has been closed. Of a listener
 * that is not TCP's the system does not say how many wait: it is served until nobody does, newcomers among them, at most for as many as
 * net.core.somaxconn lets wait, or 65,536.
 *
 * Connections go on, and learn of it by `rt_poll_draining`.
 *
 * Returns 0, also the second time; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_server_stop(rt_server server);

/**
 * Waits for a server to be stopped: for the tasks of its connections, to finish what they do.
 *
 * Returns 0 once it is, and from then on; `RT_PENDING`; `-EBADF`, which also wakes who waits when the server is freed; `-EINVAL`,
 * `-EPERM` for the context. In a poll, or with a context of the program's own. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll.
 */
int64_t rt_poll_draining(rt_cx *cx,
                         rt_server server);

/**
 * Stops a server, as `rt_server_stop`, and waits until its listener is closed and all its connections have ended. At the time `at`,
 * which may be `RT_NEVER`, the listener is closed at once, and the tasks of the connections that are left are aborted. Of several
 * times that were asked for the earliest holds. Not for the task of one of its connections, which would wait for itself.
 *
 * Returns how many connections were cut at that time, after their drop functions ran: a task that returned a result all the
 * same is not counted. `RT_PENDING`. Errors: `-EBADF`; `-ESHUTDOWN`, `-ENOMEM` if nobody can be had to look at the time; `-EINVAL`,
 * `-EPERM` for the context. In a poll, or with a context of the program's own. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll.
 */
int64_t rt_poll_drain(rt_cx *cx,
                      rt_server server,
                      uint64_t at);

/**
 * Reads the counters of a server, all at one time.
 *
 * Returns 0; `-EBADF`; `-EINVAL` for NULL or a size that is too small. Any thread. Does not block.
 *
 * # Safety
 * `out` has as many writable bytes as its `size` says.
 */
int64_t rt_server_stats(rt_server server, rt_server_stats_data *out);

/**
 * Stops a server, as `rt_server_stop`, and makes its handle stale. Its connections go on, `on_connection` may still be called for
 * what was in the backlog; who waits for the server is woken, to see `-EBADF`.
 *
 * Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_server_free(rt_server server);

/**
 * Makes a notify.
 *
 * Returns 0, and the notify in `*out`. On failure `*out` is 0: `-EINVAL` for NULL; `-ENOMEM`. Any thread. Does not block.
 *
 * # Safety
 * `out` is writable.
 */
int64_t rt_notify_new(rt_notify *out);

/**
 * Notifies whoever waits first. With nobody waiting the notification is kept, at most one, for whoever asks next.
 *
 * A task that is notified takes the notification in its next poll. If that poll does not ask for it, or the task ends, the
 * next who waits is notified instead.
 *
 * Returns 0; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_notify_one(rt_notify n);

/**
 * Notifies all who wait now. Nothing is kept: who does not take it in its next poll has missed it.
 *
 * Returns 0; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_notify_all(rt_notify n);

/**
 * Waits for a notification, and takes it.
 *
 * Returns 0; `RT_PENDING`: there is none. A task that returns without having asked again keeps its place in the queue until it
 * is notified. A context of the program's own is notified too, but has no next poll that could go by: whoever waits behind
 * it is notified as well, and who asks first gets it.
 *
 * `-EBADF`, also for who waits when the notify is freed; `-EINVAL`, `-EPERM` for the context. In a poll, or with a context of
 * the program's own. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll.
 */
int64_t rt_poll_notified(rt_cx *cx,
                         rt_notify n);

/**
 * Frees a notify. Who waits is woken, to see `-EBADF`.
 *
 * Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_notify_free(rt_notify n);

/**
 * Makes a semaphore with so many permits.
 *
 * Returns 0, and the semaphore in `*out`. On failure `*out` is 0: `-EINVAL` for NULL, or more than INT64_MAX permits;
 * `-ENOMEM`. Any thread. Does not block.
 *
 * # Safety
 * `out` is writable.
 */
int64_t rt_sem_new(uint64_t permits,
                   rt_sem *out);

/**
 * Waits for `n` permits, and takes them all at once. They belong to nobody in particular: whoever is done with them gives
 * them back by `rt_sem_release`, in a drop function too.
 *
 * Returns 0; `RT_PENDING`: not yet. A task that returns without having asked again keeps its place in the queue until its turn
 * has come and gone; asking for another number is a new place. A context of the program's own is woken when there are
 * permits, but nothing is set aside for it: whoever waits behind it is woken as well, and who asks first gets them.
 *
 * `-EPIPE`: the semaphore was closed; `-EBADF`, also for who waits when it is freed; `-EINVAL` for 0 permits; `-EINVAL`, `-EPERM`
 * for the context. In a poll, or with a context of the program's own. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll.
 */
int64_t rt_poll_acquire(rt_cx *cx,
                        rt_sem sem,
                        uint64_t n);

/**
 * Takes `n` permits if they are free and nobody waits.
 *
 * Returns 0; `-EAGAIN`; `-EPIPE`: the semaphore was closed; `-EINVAL` for 0 permits; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_sem_try_acquire(rt_sem sem,
                           uint64_t n);

/**
 * Gives `n` permits, be they acquired before or new ones. Wakes those whose turn it is.
 *
 * Returns 0. On failure nothing is given: `-EOVERFLOW` for more than INT64_MAX permits; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_sem_release(rt_sem sem,
                       uint64_t n);

/**
 * Closes a semaphore: who acquires, or waits to, sees `-EPIPE`. Permits can still be released.
 *
 * Returns 0, also the second time; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_sem_close(rt_sem sem);

/**
 * Frees a semaphore. Who waits is woken, to see `-EBADF`.
 *
 * Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_sem_free(rt_sem sem);

/**
 * Makes a channel for at most `capacity` items. `drop` (which may be NULL) is called with each item that was sent and that
 * nobody received before `rt_chan_free`. Memory is taken as items come.
 *
 * Returns 0, and the channel in `*out`. On failure `*out` is 0: `-EINVAL` for NULL, or a capacity of 0; `-ENOMEM`. Any thread.
 * Does not block.
 *
 * # Safety
 * `drop` may be called with any item, on any thread; `out` is writable.
 */
int64_t rt_chan_new(size_t capacity,
                    rt_drop_fn drop,
                    rt_chan *out);

/**
 * Sends an item, when there is room.
 *
 * Returns 0: the item is the channel's, and then the receiver's. `RT_PENDING`: not yet, and it is still the caller's, as on
 * failure: `-EPIPE`: the channel was closed; `-EBADF`, also for who waits when it is freed; `-EINVAL`, `-EPERM` for the context.
 * In a poll, or with a context of the program's own. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll.
 */
int64_t rt_poll_chan_send(rt_cx *cx,
                          rt_chan ch,
                          void *item);

/**
 * Sends an item if there is room and nobody waits for it.
 *
 * Returns 0: the item is the channel's, and then the receiver's. On failure it is still the caller's: `-EAGAIN`; `-EPIPE`: the
 * channel was closed; `-EBADF`. Any thread. Does not block.
 *
 * # Safety
 * The item is what the channel's drop function takes.
 */
int64_t rt_chan_try_send(rt_chan ch,
                         void *item);

/**
 * Sends an item from a thread: as `rt_poll_chan_send`, for at most `timeout_ns`. It drives no runtime meanwhile.
 *
 * Returns 0: the item is the channel's, and then the receiver's. On failure it is still the caller's: `-ETIME`: there was no
 * room in time; `-EPIPE`; `-EBADF`; `-EDEADLK` inside of a runtime. Any thread. Blocks.
 *
 * # Safety
 * The item is what the channel's drop function takes.
 */
int64_t rt_chan_send(rt_chan ch,
                     void *item,
                     uint64_t timeout_ns);

/**
 * Receives the first item, when there is one.
 *
 * Returns 0, and in `*item` the item, which is the caller's. `RT_PENDING`: there is none. `-EPIPE`: the channel was closed, and
 * is empty; `-EBADF`, also for who waits when it is freed; `-EINVAL` for NULL; `-EINVAL`, `-EPERM` for the context. In a poll, or
 * with a context of the program's own. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `item` is writable.
 */
int64_t rt_poll_chan_recv(rt_cx *cx,
                          rt_chan ch,
                          void **item);

/**
 * Receives the first item if there is one and nobody waits for it.
 *
 * Returns 0, and in `*item` the item, which is the caller's. `-EAGAIN`; `-EPIPE`: the channel was closed, and is empty; `-EINVAL`
 * for NULL; `-EBADF`. Any thread. Does not block.
 *
 * # Safety
 * `item` is writable.
 */
int64_t rt_chan_try_recv(rt_chan ch,
                         void **item);

/**
 * Receives an item on a thread: as `rt_poll_chan_recv`, for at most `timeout_ns`. It drives no runtime meanwhile.
 *
 * Returns 0, and in `*item` the item, which is the caller's. `-ETIME`: none came in time; `-EPIPE`; `-EBADF`; `-EINVAL` for NULL;
 * `-EDEADLK` inside of a runtime. Any thread. Blocks.
 *
 * # Safety
 * `item` is writable.
 */
int64_t rt_chan_recv(rt_chan ch,
                     void **item,
                     uint64_t timeout_ns);

/**
 * How many items there are that nobody has received.
 *
 * Returns the number; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_chan_len(rt_chan ch);

/**
 * Closes a channel: who sends, or waits to, sees `-EPIPE`. Who receives gets what is there, and then `-EPIPE`.
 *
 * Returns 0, also the second time; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_chan_close(rt_chan ch);

/**
 * Frees a channel. Who waits is woken, to see `-EBADF`; items that nobody received are dropped, by this call.
 *
 * Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_chan_free(rt_chan ch);

/**
 * Makes a oneshot. `drop` (which may be NULL) is called with the item if it was sent and not received before
 * `rt_oneshot_free`.
 *
 * Returns 0, and the oneshot in `*out`. On failure `*out` is 0: `-EINVAL` for NULL; `-ENOMEM`. Any thread. Does not block.
 *
 * # Safety
 * `drop` may be called with the item, on any thread; `out` is writable.
 */
int64_t rt_oneshot_new(rt_drop_fn drop,
                       rt_oneshot *out);

/**
 * Sends the item.
 *
 * Returns 0: the item is the oneshot's, and then the receiver's. On failure it is still the caller's: `-EALREADY`: one was sent
 * before; `-EPIPE`: the sender gave up before; `-EBADF`: there is no receiver any more. Any thread. Does not block.
 *
 * # Safety
 * The item is what the drop function takes.
 */
int64_t rt_oneshot_send(rt_oneshot o,
                        void *item);

/**
 * The sender gives up: who waits is woken, to see `-EPIPE`.
 *
 * Returns 0, also the second time, and for the handle 0; `-EALREADY`: the item was sent, and stays; `-EBADF`. Any thread. Does
 * not block.
 */
int64_t rt_oneshot_close(rt_oneshot o);

/**
 * Waits for the item.
 *
 * Returns 0, and in `*item` the item, which is the caller's: the handle is spent. `RT_PENDING`: not yet. `-EPIPE`: the sender gave
 * up, and the handle is spent, unless others are still to hear of it. Several may wait; one gets the item, the others `-EBADF`; that
 * the sender gave up is told to all, each in its next poll. Who leaves without having heard how it ended frees the oneshot.
 *
 * `-EBADF`, also for who waits when it is freed; `-EINVAL` for NULL; `-EINVAL`, `-EPERM` for the context. In a poll, or with a
 * context of the program's own. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `item` is writable.
 */
int64_t rt_poll_oneshot(rt_cx *cx,
                        rt_oneshot o,
                        void **item);

/**
 * The same on a thread, for at most `timeout_ns`. It drives no runtime meanwhile.
 *
 * Returns 0, and in `*item` the item, which is the caller's: the handle is spent. `-EPIPE`: the sender gave up, and the handle is
 * spent, unless others are still to hear of it. `-ETIME`: not in time, and the handle is still good; `-EBADF`; `-EINVAL` for
 * NULL; `-EDEADLK` inside of a runtime. Any thread. Blocks.
 *
 * # Safety
 * `item` is writable.
 */
int64_t rt_oneshot_wait(rt_oneshot o,
                        uint64_t timeout_ns,
                        void **item);

/**
 * Frees a oneshot: the receiver gives up. An item that was sent is dropped, by this call. Who waits is woken, to see `-EBADF`.
 *
 * Returns 0, also for the handle 0; `-EBADF`: also when it was received. Any thread. Does not block.
 */
int64_t rt_oneshot_free(rt_oneshot o);

/**
 * Makes an event that is not set, whose tasks are woken by a runtime. It holds a descriptor until it is freed.
 *
 * Returns 0, and the event in `*out`, which the caller must free. On failure `*out` is 0: `-EINVAL` for NULL; `-EBADF` for the
 * runtime; `-EMFILE`, `-ENFILE`, `-ENOMEM`. Any thread. Does not block.
 *
 * # Safety
 * `out` is writable.
 */
int64_t rt_event_new(rt_runtime rt,
                     rt_event *out);

/**
 * Sets an event: all who wait are woken, and nobody waits until it is reset. Setting it again changes nothing.
 *
 * Returns 0; `-EBADF`. Any thread, and any signal handler: takes no lock, allocates and frees nothing, and keeps `errno`. Does
 * not block.
 */
int64_t rt_event_set(rt_event event);

/**
 * Resets an event: who looks from now on, waits.
 *
 * Returns 0; `-EBADF`. Any thread, and any signal handler. Does not block.
 */
int64_t rt_event_reset(rt_event event);

/**
 * Waits, in a poll, until an event is set.
 *
 * Returns 0 while it is set; `RT_PENDING`: it is not. Any number of tasks, of any runtimes, may wait; all are woken. Errors:
 * `-EBADF`, also when the event is freed meanwhile; `-ESHUTDOWN` if it is not set, and its runtime shuts down, `-EBADF` once that
 * was freed; `-EINVAL`, `-EPERM` for the context. In a poll, or with a context of the program's own. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll.
 */
int64_t rt_poll_event(rt_cx *cx,
                      rt_event event);

/**
 * Waits, on a thread, until an event is set, for at most `timeout_ns`, which may be `RT_NEVER`. It does not matter what becomes of
 * the runtime meanwhile.
 *
 * Returns 0; `-ETIME`: it was not set all the time; `-EBADF`, also when the event is freed meanwhile; `-EDEADLK` on a thread that is
 * inside of a runtime, in a poll or in a drop function. Any thread. Blocks.
 */
int64_t rt_event_wait(rt_event event,
                      uint64_t timeout_ns);

/**
 * Frees an event. All who wait for it are woken, and see `-EBADF`.
 *
 * Returns 0, also for the handle 0; `-EBADF`. Any thread, but no signal handler. Waits for other threads to leave `rt_event_set`,
 * which does not block.
 */
int64_t rt_event_free(rt_event event);

/**
 * Opens a listener for a signal, whose tasks are woken by a runtime. It holds a descriptor until it is closed.
 *
 * Returns 0, and the listener in `*out`, which the caller must close. On failure `*out` is 0: `-EINVAL` for NULL, and for what is
 * no signal or cannot be listened to: SIGKILL and SIGSTOP, and the faults SIGSEGV, SIGBUS, SIGILL and SIGFPE, which would come
 * again when the handler returns; `-EBUSY`: the program has replaced the library's handler by one of its own; `-EBADF` for the
 * runtime; `-EMFILE`, `-ENFILE`, `-ENOMEM`. Any thread. Does not block, but for handlers of the program's that run on other threads.
 *
 * # Safety
 * `out` is writable.
 */
int64_t rt_signal_open(rt_runtime rt,
                       int signum,
                       rt_signal *out);

/**
 * Waits for the signal to be delivered.
 *
 * Returns how many deliveries there were since the last time, at least 1: none is lost. (The kernel itself makes one of several
 * that are sent before the first is delivered, unless they are real-time signals.) `RT_PENDING`: none yet. Several tasks, of any
 * runtimes, may wait; all are woken, one gets the deliveries.
 *
 * Errors: `-EBADF`, also when the listener is closed meanwhile; `-ESHUTDOWN`, and `-EBADF` once its runtime was freed; `-EINVAL`,
 * `-EPERM` for the context. In a poll, or with a context of the program's own. Does not block.
 *
 * # Safety
 * `cx` is the context of this poll.
 */
int64_t rt_poll_signal(rt_cx *cx,
                       rt_signal signal);

/**
 * Closes a listener. Who waits in `rt_poll_signal` is woken, to see `-EBADF`. Deliveries that nobody took are forgotten.
 *
 * Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block, but for handlers of this signal that run on other
 * threads; so a handler of the program's must return, and not jump out.
 */
int64_t rt_signal_close(rt_signal signal);

/**
 * Sets every field to its default. Call it as `rt_process_opts_init(&opts, sizeof opts)`.
 *
 * Returns 0, or `-EINVAL` for NULL or a size that is too small. Any thread.
 *
 * # Safety
 * `opts` has `size` writable bytes.
 */
int64_t rt_process_opts_init(rt_process_opts *opts, size_t size);

/**
 * Spawns a child process, whose end a runtime tells.
 *
 * The child has no signal blocked; signals that this process handles, for listeners too, are at their default there, and those
 * that it ignores are ignored. It inherits the program's descriptors that are not close-on-exec, and none of the library's.
 *
 * Returns 0, and the process in `*out`, which the caller must close. On failure `*out` is 0, and there is no child: `-ENOENT`,
 * `-EACCES`, `-ENOEXEC` and so on for the file or `cwd`; `-EINVAL` for NULL, a bad size, unknown flags or a negative descriptor;
 * `-EBADF` for the runtime, and for a descriptor that is closed; `-ECHILD` if this process ignores SIGCHLD; `-EMFILE`, `-ENFILE`,
 * `-EAGAIN`, `-ENOMEM`, `-ENOSPC` as for `rt_register_fd`; `-ENOSYS` on a kernel without pidfds (before Linux 5.4). If one of these runs
 * out when the child runs already, it is killed.
 *
 * Any thread, and in polls. Blocks until the system has loaded the program.
 *
 * # Safety
 * `opts` is as its `size` says, its texts and arrays end as they should, and nobody changes the environment meanwhile. `out` is
 * writable.
 */
int64_t rt_process_spawn(rt_runtime rt,
                         const rt_process_opts *opts,
                         rt_process *out);

/**
 * Makes a process of a child that the program forked itself. From then on the program must not wait for it by other means; it
 * is reaped when `rt_poll_process` finds that it ended, and not by `rt_process_close`. A child may be opened several times; the
 * first that finds it ended learns how, the others see `-ECHILD`.
 *
 * Returns 0, and the process in `*out`, which the caller must close. On failure `*out` is 0: `-ECHILD` if `pid` is no child of this
 * process, or was reaped; `-EINVAL` for NULL; `-EBADF` for the runtime; `-EMFILE`, `-ENFILE`, `-ENOMEM`, `-ENOSYS`. Any thread. Does
 * not block.
 *
 * # Safety
 * `out` is writable.
 */
int64_t rt_process_open(rt_runtime rt,
                        int32_t pid,
                        rt_process *out);

/**
 * Waits for a process to end.
 *
 * Returns 0 when it has ended, and in `*exit` (which may be NULL) how; it stays so for later calls. `RT_PENDING`: it goes on. Any
 * number of tasks, of any runtimes, may wait; all are woken and told. What it wrote to its pipes may not have been read yet.
 *
 * Errors: `-ECHILD`: it has ended, and somebody else took the outcome, or SIGCHLD is ignored; it stays so; `-EBADF`, also when the
 * process is closed meanwhile; `-ESHUTDOWN`; `-EINVAL`, `-EPERM` for the context. In a poll, or with a context of the program's own.
 * Does not block.
 *
 * # Safety
 * `cx` is the context of this poll; `exit` is NULL or writable.
 */
int64_t rt_poll_process(rt_cx *cx,
                        rt_process process,
                        rt_exit *exit);

/**
 * Takes the other end of a pipe that the process was spawned with: `which` is 0 for its stdin, to be written to, 1 and 2 for its
 * stdout and stderr, to be read from. Closing the first is how the child sees the end of its input.
 *
 * Returns 0, and the descriptor in `*out`, registered with the runtime, which the caller must close. On failure `*out` is 0:
 * `-ENOENT` if there is no such pipe, or it was taken before; `-EINVAL` for NULL or another number; `-EBADF`. What nobody takes is
 * closed with the process. Any thread. Does not block.
 *
 * # Safety
 * `out` is writable.
 */
int64_t rt_process_stdio(rt_process process,
                         uint32_t which,
                         rt_io *out);

/**
 * Sends a signal to a process; 0 sends none, and only checks. It never reaches another process.
 *
 * Returns 0; `-ESRCH` once it has ended, whether or not that was asked for yet; `-EPERM` if it runs as another user; `-EINVAL` for
 * what is no signal; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_process_signal(rt_process process,
                          int signum);

/**
 * The number of a process. It is the process' own until it ended and `rt_poll_process` said so.
 *
 * Returns it, or `-EBADF`. Any thread. Does not block.
 */
int64_t rt_process_pid(rt_process process);

/**
 * Closes a process. It is left to itself: neither signalled nor waited for. Who waits in `rt_poll_process` is woken, to see
 * `-EBADF`. Pipes that nobody took are closed. A child that was spawned here and goes on is reaped by its runtime when it ends; if
 * the runtime is freed before that, it stays a zombie from its end to the end of this process.
 *
 * Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_process_close(rt_process process);

/**
 * Opens a watch of `fd`, or one that has only a time if `fd` is -1. It asks for nothing yet. `near`, a watch or a pinned task of the
 * same runtime, is whose worker it is to be on; 0: the worker that makes this call, or else one of all.
 *
 * Returns 0, and the watch in `*out`, to be given to `rt_watch_close`; it is written before `call` can be called. `drop`, which may be
 * NULL, will be called with `arg` once, on that worker, after the last call: when the watch was closed, or its runtime shuts down. The
 * descriptor stays the caller's, who must not close it before `rt_watch_close`; meanwhile the runtime has it registered.
 *
 * On failure `*out` is 0, and `arg` and the descriptor are untouched: as `rt_register_fd`, so `-EEXIST` if this runtime has the
 * descriptor already; `-EINVAL` for NULL, and for a `near` of another runtime; `-EBADF` also for a `near` that is stale; `-ENOMEM`;
 * `-ESHUTDOWN`. Any thread. Does not block.
 *
 * # Safety
 * `call` and `drop` may be called with `arg` on any thread, one call at a time. `out` is writable.
 */
int64_t rt_watch_open(rt_runtime rt,
                      uint64_t near,
                      int fd,
                      rt_watch_fn call,
                      void *arg,
                      rt_drop_fn drop,
                      rt_watch *out);

/**
 * What to watch for from now on: `RT_READABLE`, `RT_WRITABLE`, `RT_PRIORITY`, any of them together, or 0. While that is so, the function
 * is called again and again, other tasks in between. Costs no system call.
 *
 * Returns 0; `-EBADF`; `-EINVAL` for other bits, and for a watch without a descriptor, unless they are 0. Any thread. Does not block.
 */
int64_t rt_watch_for(rt_watch watch,
                     uint32_t interest);

/**
 * When to call the function, once, of the nanoseconds of `rt_now`: at once if that is over. It takes the place of a time that has not come;
 * `RT_NEVER` takes that back.
 *
 * Returns 0; `-EBADF`. Any thread. Does not block.
 */
int64_t rt_watch_at(rt_watch watch,
                    uint64_t at);

/**
 * Closes a watch. The handle is stale at once, and the runtime has let go of the descriptor on return. For who is on the watch's worker no
 * call begins any more, and the descriptor may be closed. From elsewhere a call that was about to begin may still do so, one at most,
 * and one that has begun goes on; `drop` is called when it has returned, and until then the descriptor must stay open if the function
 * uses it.
 *
 * Returns 0, also for the handle 0; `-EBADF`: also when its runtime has shut down, and nothing is left to be done. Any thread.
 * Waits for another thread that is asking the kernel about the descriptor, which does not block.
 */
int64_t rt_watch_close(rt_watch watch);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ASYNCIO_H */
