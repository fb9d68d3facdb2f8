//! Makes rings, and says in a sentence why there can be none.
//!
//! | since | what is asked for |
//! |---|---|
//! | 6.1 | SINGLE_ISSUER, DEFER_TASKRUN, TASKRUN_FLAG, SUBMIT_ALL, R_DISABLED, CQSIZE, CLAMP: all of it, or there is no ring |
//! | 6.6 | NO_SQARRAY: left out where it is refused |
//! | 6.15 | NO_IOWAIT: used where its feature bit is set |

use super::ring::Uring;
use super::{Completion, Ring};
use io_uring::{IoUring, Parameters, Probe, opcode};
use std::ffi::CStr;
use std::io;
use std::time::Duration;

/// Why there is no ring, for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable {
    pub(crate) errno: i32,
    /// A clause without a full stop.
    pub(crate) why: String,
}

/// A call that can be refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Setup,
    Register,
    Enter,
}

/// Room for bursts: what does not fit costs an allocation in the kernel, and a call more.
const COMPLETIONS: u32 = 4096;

/// Operations that the engine cannot do without. All are older than the flags are.
const NEEDED: [(u8, &str); 7] = [
    (opcode::Nop::CODE, "NOP"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::Accept::CODE, "ACCEPT"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    (opcode::Recv::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::Read::CODE, "READ"),
];

/// Shows that rings work here: one is made, used on this thread and thrown away.
pub(crate) fn prove() -> Result<(), Unavailable> {
    let memory = Page::new()?;
    let mut ring = build(8, 16)?;
    ring.start().map_err(|error| refused(Call::Register, &error))?;
    // SAFETY: the page is aligned and holds 16 records; it is unmapped after the ring, which is declared after it.
    unsafe { ring.register_buffers(memory.0, 16, 0) }.map_err(|error| refused(Call::Register, &error))?;
    // SAFETY: a NOP names nothing.
    unsafe { ring.push(opcode::Nop::new().build().user_data(1)) };
    let mut completions = Vec::new();
    ring.enter(true, Some(Duration::from_secs(1)), &mut completions).map_err(|error| refused(Call::Enter, &error))?;
    match completions[..] {
        [Completion { user_data: 1, result: 0, .. }] => Ok(()),
        _ => {
            Err(Unavailable { errno: libc::EIO, why: "a no-op that was sent through a ring did not come back".into() })
        }
    }
}

/// A ring for a worker. It is disabled until its owner calls `start`, which binds it to the owner's thread.
pub(crate) fn make(entries: u32) -> Result<Box<dyn Ring>, Unavailable> {
    Ok(Box::new(build(entries, entries.saturating_mul(8).max(COMPLETIONS))?))
}

pub(super) fn build(entries: u32, completions: u32) -> Result<Uring, Unavailable> {
    let ring = match request(entries, completions, true) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => request(entries, completions, false),
        outcome => outcome,
    };
    let ring = ring.map_err(|error| refused(Call::Setup, &error))?;
    if let Some(feature) = missing(ring.params()) {
        return Err(too_old(&format!("it lacks {feature}")));
    }
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| refused(Call::Register, &error))?;
    if let Some((_, name)) = NEEDED.iter().find(|(code, _)| !probe.is_supported(*code)) {
        return Err(too_old(&format!("it lacks the operation {name}")));
    }
    Ok(Uring::new(ring, probe))
}

fn request(entries: u32, completions: u32, no_array: bool) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .dontfork()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_r_disabled()
        .setup_cqsize(completions.max(entries))
        .setup_clamp();
    if no_array {
        builder.setup_no_sqarray();
    }
    builder.build(entries)
}

/// What the engine relies on and the kernel does not promise.
fn missing(params: &Parameters) -> Option<&'static str> {
    [
        (params.is_feature_nodrop(), "completions that are never dropped (NODROP)"),
        (params.is_feature_ext_arg(), "timeouts of a wait (EXT_ARG)"),
        (params.is_feature_submit_stable(), "arguments that are copied at submission (SUBMIT_STABLE)"),
        (params.is_feature_fast_poll(), "waiting without threads (FAST_POLL)"),
        (params.is_feature_rw_cur_pos(), "reading at the file's position (RW_CUR_POS)"),
    ]
    .into_iter()
    .find_map(|(present, name)| (!present).then_some(name))
}

fn too_old(detail: &str) -> Unavailable {
    let why = format!("the kernel is too old: io_uring is used from Linux 6.1 on, this is {}, and {detail}", release());
    Unavailable { errno: libc::EINVAL, why }
}

/// Turns the refusal of a call into a sentence.
fn refused(call: Call, error: &io::Error) -> Unavailable {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    let name = match call {
        Call::Setup => "io_uring_setup",
        Call::Register => "io_uring_register",
        Call::Enter => "io_uring_enter",
    };
    let why = match errno {
        libc::EINVAL if call == Call::Setup => return too_old("it does not know DEFER_TASKRUN"),
        libc::ENOSYS if call == Call::Setup => "the kernel was built without io_uring, or a sandbox hides it".into(),
        libc::EPERM if call == Call::Setup => forbidden(&disabled()),
        libc::EPERM | libc::ENOSYS => format!("a seccomp filter or another sandbox refuses {name}"),
        libc::EACCES => format!("a security module refuses {name}"),
        libc::ENOMEM => format!("{name} got no memory for a ring, or RLIMIT_MEMLOCK is too low"),
        libc::EMFILE => "the process has no file descriptor left for a ring (RLIMIT_NOFILE)".into(),
        libc::ENFILE => "the system has no file descriptor left for a ring".into(),
        _ => format!("{name} failed: {error}"),
    };
    Unavailable { errno, why }
}

/// An administrator's switch (since 6.6) and a sandbox refuse alike. `switch` is what the switch says.
pub(super) fn forbidden(switch: &str) -> String {
    match switch {
        "2" => "io_uring is switched off for everybody (kernel.io_uring_disabled is 2)".into(),
        "1" => {
            "io_uring is kept for privileged processes and kernel.io_uring_group (kernel.io_uring_disabled is 1)".into()
        }
        _ => "a seccomp filter or another sandbox refuses io_uring_setup".into(),
    }
}

fn disabled() -> String {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default().trim().to_owned()
}

/// The kernel's release, as `uname -r` prints it.
fn release() -> String {
    // SAFETY: all zero bytes are a valid `utsname`, which is arrays of bytes.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the structure outlives the call; the kernel ends each of its strings with a zero, as zeroed ones end.
    unsafe {
        libc::uname(&mut name);
        CStr::from_ptr(name.release.as_ptr()).to_string_lossy().into_owned()
    }
}

/// A page of zeros.
struct Page(*mut u8);

impl Page {
    const SIZE: usize = 4096;

    fn new() -> Result<Self, Unavailable> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at a place that the kernel chooses.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), Self::SIZE, access, kind, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(refused(Call::Register, &io::Error::last_os_error()));
        }
        Ok(Self(page.cast()))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: `new` mapped it, and nobody else has the address once its user, the ring, is gone.
        unsafe { libc::munmap(self.0.cast(), Self::SIZE) };
    }
}
