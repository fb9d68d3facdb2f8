//! The noun server: connections that become tasks.

use super::context::rt_cx;
use super::readiness::rt_io;
use super::runtime::rt_runtime;
use super::task::{CTask, RT_SPAWN_INLINE, prepare, rt_spawn_opts};
use super::{check, context, guarded, init_sized, io_name, not_null, polled, runtime_ref, sized};
use crate::runtime::{IoName, RuntimeRef};
use crate::serve::{Arrival, Mode, Options, Program, free, poll_drain, poll_draining, serve, stats, stop};
use std::ffi::c_void;
use std::task::Poll;

/// A server: accepts what comes to a listener, and makes each connection a task of the program's.
///
/// 0 is never a server. The handle is good until `rt_server_free`, or until the runtime was freed.
///
/// Methods: `rt_server_stop`, `rt_poll_draining`, `rt_poll_drain`, `rt_server_stats`, `rt_server_free`. Made by `rt_serve`.
///
/// Threads: any thread may call any method, also several at once.
#[allow(non_camel_case_types)]
pub type rt_server = u64;

/// Says what becomes of a connection: fills in `poll`, `state` and `drop` of its task, as for `rt_spawn_with`, and returns 0 or
/// more; or refuses it by returning less, and the library closes `io`. From a return of 0 or more on `io` is the task's, whose
/// drop function closes it.
///
/// `task` was set by `rt_spawn_opts_init`. The task is pinned to the worker that was chosen for the connection, which is the
/// one that watches `io`; with `near` and `RT_SPAWN_PINNED`, to that one, and `io` moves there. `name`, and with
/// `RT_SPAWN_INLINE` the state, are copied after this function returned, so neither is a local of its. If no task can be made of what
/// was filled in, or none at all any more, the connection counts as refused: `drop` is called with the state, as if the task had been
/// aborted before its first poll, and `io` is closed if it is still open.
///
/// It is called on the worker that accepted, by several workers at once unless the mode is `RT_SERVE_SHARED`, outside of any
/// poll (`rt_cx_current` is NULL), with no lock held. It may call anything that does not block, be it `rt_server_stop`.
#[allow(non_camel_case_types)]
pub type rt_accept_fn = Option<unsafe extern "C" fn(arg: *mut c_void, io: rt_io, task: *mut rt_spawn_opts) -> i64>;

/// A mode: one worker accepts, and gives the connections to all workers in turn. The default.
pub const RT_SERVE_SHARED: u32 = 0;
/// A mode: every worker accepts from the one backlog, and keeps what it got. On epoll a connection wakes one sleeping worker
/// where the kernel can tell; on io_uring it may wake several, of which one gets it.
pub const RT_SERVE_EXCLUSIVE: u32 = 1;
/// A mode: every worker has a listener of its own, among which the kernel divides what comes. The listener must have been bound
/// with SO_REUSEPORT.
///
/// The others are made like it: they have its address and backlog, its socket filter (SO_ATTACH_FILTER, SO_LOCK_FILTER), and what
/// it was set to of SO_BINDTODEVICE, SO_BUSY_POLL, SO_DONTROUTE, SO_KEEPALIVE, SO_LINGER, SO_MARK, SO_MAX_PACING_RATE,
/// SO_OOBINLINE, SO_PRIORITY, SO_RCVBUF, SO_RCVLOWAT, SO_RCVTIMEO, SO_REUSEADDR, SO_SNDBUF, SO_SNDTIMEO, SO_ZEROCOPY; IP_FREEBIND,
/// IP_MINTTL, IP_MTU_DISCOVER, IP_TOS, IP_TRANSPARENT, IP_TTL and what IPv6 calls the same, IPV6_V6ONLY; TCP_CONGESTION,
/// TCP_DEFER_ACCEPT, TCP_FASTOPEN, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_LINGER2, TCP_MAXSEG, TCP_NODELAY,
/// TCP_NOTSENT_LOWAT, TCP_SAVE_SYN, TCP_SYNCNT, TCP_USER_TIMEOUT, TCP_WINDOW_CLAMP. Set them before `rt_serve`. Whatever else it
/// was set to, such as keys (TCP_MD5SIG, TCP_AO), is not read, and holds for one listener only.
pub const RT_SERVE_REUSEPORT: u32 = 2;

/// How a server behaves. Set by `rt_serve_opts_init`; zero means the default in every field.
///
/// A deadline aborts the connection's task, as `rt_abort` does. Bytes count where the library moved them: in a read or write,
/// an operation, a queued send, or an `rt_poll_try` that returned more than 0. For an idle connection events of its
/// descriptor count, too, so that a program that makes its own calls after `rt_poll_ready` need not say so. Once the connection's
/// descriptor was closed, only `total_ns` holds.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_serve_opts {
    /// The size of this struct as the program knows it.
    pub size: u32,
    /// `RT_SERVE_SHARED`, `RT_SERVE_EXCLUSIVE` or `RT_SERVE_REUSEPORT`. The same on a runtime with one worker.
    pub mode: u32,
    /// How many connections may be live at once. As long as there are so many nothing is accepted, and the backlog keeps what
    /// comes. 0: no limit.
    pub max_connections: u64,
    /// A connection is cut if no byte was received for so long after it was accepted. 0: never.
    pub first_byte_ns: u64,
    /// A connection is cut if nothing was received or sent for so long: not earlier, and not later than a quarter more, as far as its
    /// worker is not busy. 0: never.
    pub idle_ns: u64,
    /// A connection is cut so long after it was accepted, whatever it does. 0: never.
    pub total_ns: u64,
    /// 0.
    pub flags: u64,
}

/// Counters of a server, from its beginning. Set `size`, then call `rt_server_stats`. A connection that came is counted in one of
/// `accepted`, `refused` and `shed`.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_server_stats_data {
    /// The size of this struct as the program knows it.
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// Connections that got a task.
    pub accepted: u64,
    /// Connections that got none: the program refused them, or the task could not be made.
    pub refused: u64,
    /// Connections whose task has not ended.
    pub live: u64,
    /// Connections that were cut because no byte came.
    pub cut_first_byte: u64,
    /// Connections that were cut because nothing moved.
    pub cut_idle: u64,
    /// Connections that were cut because their time was over.
    pub cut_total: u64,
    /// Connections that were closed at once because no descriptor could be had for them.
    pub shed: u64,
}

/// What the program gave to `rt_serve`.
struct Served {
    on_connection: unsafe extern "C" fn(arg: *mut c_void, io: rt_io, task: *mut rt_spawn_opts) -> i64,
    arg: *mut c_void,
    runtime: rt_runtime,
}

// SAFETY: whoever called `rt_serve` promised that the function may be called on any thread.
unsafe impl Send for Served {}
// SAFETY: the same, by several at once.
unsafe impl Sync for Served {}

impl Program for Served {
    type Task = CTask;

    fn connect(&self, io: IoName) -> Option<Arrival<CTask>> {
        // SAFETY: zeroes are a valid value of all its fields.
        let mut opts = unsafe { std::mem::zeroed::<rt_spawn_opts>() };
        opts.size = size_of::<rt_spawn_opts>() as u32;
        // SAFETY: the program's promise; the options are ours.
        if unsafe { (self.on_connection)(self.arg, io.raw(), &mut opts) } < 0 {
            return None;
        }
        let prepared = RuntimeRef::enter(self.runtime).and_then(|runtime| {
            // SAFETY: what was filled in is as for `rt_spawn_with`.
            unsafe { prepare(&runtime, &opts) }
        });
        match prepared {
            Ok((future, home, label)) => Some(Arrival { future, home: home.filter(|_| opts.near != 0), label }),
            Err(_) => {
                // Zeroes that were not made are no state.
                let has_state = opts.flags & RT_SPAWN_INLINE == 0 || !opts.state.is_null();
                if let Some(drop) = opts.drop.filter(|_| has_state) {
                    // SAFETY: no task has the state, nor a copy of it, so this is its one drop.
                    unsafe { drop(opts.state) };
                }
                None
            }
        }
    }
}

/// Sets every field to its default. Call it as `rt_serve_opts_init(&opts, sizeof opts)`.
///
/// Returns 0, or `-EINVAL` for NULL or a size that is too small. Any thread.
///
/// # Safety
/// `opts` has `size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_serve_opts_init(opts: *mut rt_serve_opts, size: usize) -> i64 {
    // SAFETY: the caller says so.
    guarded(|| unsafe { init_sized(opts, size) })
}

/// Serves what comes to a listener: a listening socket that does not block, registered with this runtime for `RT_READABLE` and
/// not used otherwise. `opts` may be NULL. `on_connection` is called with `arg` for each connection; `*out` is written before
/// that.
///
/// When no descriptor can be had for a connection (EMFILE), one that the server keeps in reserve is given up, the connection accepted
/// and closed at once, so that its client learns of it; then the reserve is taken again. Where it cannot be, accepting pauses until
/// the library closes a descriptor, or for 100 ms.
///
/// Returns 0, and the server in `*out`. The listener is the server's then, and its handle not to be used any more (closing
/// it stops the server). On failure `*out` is 0 and the listener stays the caller's: `-EBADF`; `-EINVAL` for NULL, an unknown mode or
/// flags, a bad size, a socket that does not listen, blocks or was not registered for `RT_READABLE`, and for
/// `RT_SERVE_REUSEPORT` without SO_REUSEPORT, or with what others cannot be given: a filter that is an eBPF program, or an option
/// that the system refuses to this process; `-ENOTSOCK`; `-EPERM` for a descriptor of another runtime; `-EBUSY` while operations are
/// at work on it; `-ESHUTDOWN`; `-ENOMEM`; for the further descriptors of a mode what the system says, such as `-EMFILE`. Any
/// thread. Does not block.
///
/// # Safety
/// `on_connection` may be called with `arg` on any thread, in modes but `RT_SERVE_SHARED` by several at once, until the server has
/// drained or the runtime was freed. `opts` is NULL or as its `size` says; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_serve(
    rt: rt_runtime,
    listener: rt_io,
    opts: *const rt_serve_opts,
    on_connection: rt_accept_fn,
    arg: *mut c_void,
    out: *mut rt_server,
) -> i64 {
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so, and so below.
        unsafe { out.write(0) };
        let runtime = runtime_ref(rt)?;
        let listener = io_name(listener)?;
        let served = Served { on_connection: on_connection.ok_or(libc::EINVAL)?, arg, runtime: rt };
        // SAFETY: as above.
        let options = if opts.is_null() { Options::default() } else { options(&unsafe { sized(opts) }?)? };
        // SAFETY: as above.
        serve(&runtime, listener, options, served, |server| unsafe { out.write(server) })?;
        Ok(0)
    })
}

fn options(opts: &rt_serve_opts) -> Result<Options, super::Errno> {
    let mode = match opts.mode {
        RT_SERVE_SHARED => Mode::Shared,
        RT_SERVE_EXCLUSIVE => Mode::Exclusive,
        RT_SERVE_REUSEPORT => Mode::ReusePort,
        _ => return Err(libc::EINVAL),
    };
    if opts.flags != 0 {
        return Err(libc::EINVAL);
    }
    let rt_serve_opts { max_connections, first_byte_ns: first_byte, idle_ns: idle, total_ns: total, .. } = *opts;
    Ok(Options { mode, max_connections, first_byte, idle, total })
}

/// Stops accepting. What was in the backlog at this time is still served, as places become free, so that no client that is
/// connected already is reset; then the listener is closed, on the worker that accepts. (A client that connects in between may be
/// reset, as the kernel does with what a listener leaves behind.) After `rt_poll_drain` was ready it has been closed. Of a listener
/// that is not TCP's the system does not say how many wait: it is served until nobody does, newcomers among them, at most for as many as
/// net.core.somaxconn lets wait, or 65,536.
///
/// Connections go on, and learn of it by `rt_poll_draining`.
///
/// Returns 0, also the second time; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_server_stop(server: rt_server) -> i64 {
    guarded(|| stop(server).map(|()| 0))
}

/// Waits for a server to be stopped: for the tasks of its connections, to finish what they do.
///
/// Returns 0 once it is, and from then on; `RT_PENDING`; `-EBADF`, which also wakes who waits when the server is freed; `-EINVAL`,
/// `-EPERM` for the context. In a poll, or with a context of the program's own. Does not block.
///
/// # Safety
/// `cx` is the context of this poll.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_draining(cx: *mut rt_cx, server: rt_server) -> i64 {
    polled(|| {
        // SAFETY: the caller says so.
        let cx = check!(unsafe { context(cx) });
        poll_draining(server, cx).map(|draining| draining.map(|()| 0))
    })
}

/// Stops a server, as `rt_server_stop`, and waits until its listener is closed and all its connections have ended. At the time `at`,
/// which may be `RT_NEVER`, the listener is closed at once, and the tasks of the connections that are left are aborted. Of several
/// times that were asked for the earliest holds. Not for the task of one of its connections, which would wait for itself.
///
/// Returns how many connections were cut at that time, after their drop functions ran: a task that returned a result all the
/// same is not counted. `RT_PENDING`. Errors: `-EBADF`; `-ESHUTDOWN`, `-ENOMEM` if nobody can be had to look at the time; `-EINVAL`,
/// `-EPERM` for the context. In a poll, or with a context of the program's own. Does not block.
///
/// # Safety
/// `cx` is the context of this poll.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_poll_drain(cx: *mut rt_cx, server: rt_server, at: u64) -> i64 {
    polled(|| {
        // SAFETY: the caller says so.
        let cx = check!(unsafe { context(cx) });
        poll_drain(server, cx, at).map(|drained| drained.map(|cut| cut as i64))
    })
}

/// Reads the counters of a server, all at one time.
///
/// Returns 0; `-EBADF`; `-EINVAL` for NULL or a size that is too small. Any thread. Does not block.
///
/// # Safety
/// `out` has as many writable bytes as its `size` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_server_stats(server: rt_server, out: *mut rt_server_stats_data) -> i64 {
    guarded(|| {
        not_null(out)?;
        // SAFETY: the caller says so, and so below.
        let size = unsafe { out.cast::<u32>().read() };
        if (size as usize) < size_of::<u32>() {
            return Err(libc::EINVAL);
        }
        let stats = stats(server)?;
        let data = rt_server_stats_data {
            size,
            reserved: 0,
            accepted: stats.accepted,
            refused: stats.refused,
            live: stats.live,
            cut_first_byte: stats.cut_first_byte,
            cut_idle: stats.cut_idle,
            cut_total: stats.cut_total,
            shed: stats.shed,
        };
        let known = size_of::<rt_server_stats_data>().min(size as usize);
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping((&raw const data).cast::<u8>(), out.cast::<u8>(), known) };
        Ok(0)
    })
}

/// Stops a server, as `rt_server_stop`, and makes its handle stale. Its connections go on, `on_connection` may still be called for
/// what was in the backlog; who waits for the server is woken, to see `-EBADF`.
///
/// Returns 0, also for the handle 0; `-EBADF`. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn rt_server_free(server: rt_server) -> i64 {
    guarded(|| {
        if server != 0 {
            free(server)?;
        }
        Ok(0)
    })
}
