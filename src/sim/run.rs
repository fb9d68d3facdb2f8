//! Runs seeds, each in a process of its own, and says which one failed.

use super::world;
use parking_lot::Mutex;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A seed that takes longer than that, in seconds, hangs where the world does not see it.
const MOST_SECONDS: u32 = 120;

static SEED: AtomicU64 = AtomicU64::new(0);
/// Whether the seed is one of those that the environment may name.
static NAMED: AtomicBool = AtomicBool::new(false);

/// Tells what a scenario knows, when it failed. It passes no point.
type Story = Box<dyn Fn() -> String + Send>;

static STORY: Mutex<Option<Story>> = parking_lot::const_mutex(None);

pub(crate) fn explain(story: impl Fn() -> String + Send + 'static) {
    *STORY.lock() = Some(Box::new(story));
}

/// The seed of this process.
pub(super) fn seed() -> u64 {
    SEED.load(Relaxed)
}

/// Ends the process of a seed that failed. The test's captured output would be lost with it, so this is written past that.
pub(super) fn report(seed: u64, what: &str, story: &str) -> ! {
    let known = STORY.try_lock().and_then(|story| story.as_ref().map(|story| story())).unwrap_or_default();
    let text = format!("\nseed {seed}: {what}\n{story}{known}{}\n", replay(seed));
    // SAFETY: the text is readable; the process ends at once, whatever its other threads hold.
    unsafe {
        libc::write(2, text.as_ptr().cast(), text.len());
        libc::_exit(1);
    }
}

fn replay(seed: u64) -> String {
    match NAMED.load(Relaxed) {
        true => format!("replay: SEED={seed} tests/run simulate"),
        false => "replay: the test alone".into(),
    }
}

/// How a seed's process ended: the hash of the run, or nothing if it failed.
fn run(seed: u64, cpu: usize, verbose: bool, scenario: fn(u64)) -> Option<u64> {
    let mut ends = [0; 2];
    // SAFETY: two writable descriptors, which are ours then.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0, "a pipe");
    // SAFETY: as above.
    let [mut from, mut to] = ends.map(|end| unsafe { File::from_raw_fd(end) });
    // SAFETY: the child goes on with this thread alone, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "a process");
    if child == 0 {
        SEED.store(seed, Relaxed);
        std::panic::set_hook(Box::new(|panic| world::fail(&panic.to_string())));
        // SAFETY: the set is plain data; the calls take no other pointers.
        unsafe {
            let mut cpus = std::mem::zeroed::<libc::cpu_set_t>();
            libc::CPU_SET(cpu, &mut cpus);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &cpus);
            libc::alarm(MOST_SECONDS);
        }
        world::begin(seed, verbose);
        scenario(seed);
        let _ = to.write_all(&world::end().to_ne_bytes());
        // SAFETY: takes no pointers.
        unsafe { libc::_exit(0) };
    }
    drop(to);
    let mut hash = [0; 8];
    let read = from.read_exact(&mut hash);
    let mut status = 0;
    // SAFETY: the status is writable, and the child is ours.
    unsafe { libc::waitpid(child, &mut status, 0) };
    if libc::WIFSIGNALED(status) {
        eprintln!("\nseed {seed}: ended by signal {}\n{}", libc::WTERMSIG(status), replay(seed));
    }
    (status == 0 && read.is_ok()).then(|| u64::from_ne_bytes(hash))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Runs seeds for `SIM_SECONDS`, from `SIM_FIRST` on, or the one that `SEED` names. Panics if one fails.
pub(crate) fn seeds(scenario: fn(u64)) {
    NAMED.store(true, Relaxed);
    if let Some(seed) = number("SEED") {
        let hash = run(seed, 0, std::env::var_os("SIM_TRACE").is_some(), scenario);
        println!("seed {seed}: {hash:x?}");
        return assert!(hash.is_some(), "seed {seed} failed");
    }
    let end = Instant::now() + Duration::from_secs(number("SIM_SECONDS").unwrap_or(10));
    let (next, done, failed) =
        (AtomicU64::new(number("SIM_FIRST").unwrap_or(0)), AtomicU64::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for cpu in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let (next, done, failed) = (&next, &done, &failed);
            scope.spawn(move || {
                while Instant::now() < end && !failed.load(Relaxed) {
                    if run(next.fetch_add(1, Relaxed), cpu, false, scenario).is_none() {
                        failed.store(true, Relaxed);
                    }
                    done.fetch_add(1, Relaxed);
                }
            });
        }
    });
    let (done, seconds) = (done.into_inner(), begun.elapsed().as_secs_f64());
    eprintln!("{done} seeds in {seconds:.1} s, {:.0} a second", done as f64 / seconds);
    assert!(!failed.into_inner(), "a seed failed");
}

/// Runs these seeds. Panics if one fails.
pub(crate) fn some(scenario: fn(u64), seeds: std::ops::Range<u64>) {
    for seed in seeds {
        assert!(run(seed, 0, false, scenario).is_some(), "seed {seed} of this test failed");
    }
}

/// The same seed twice must be the same run.
pub(crate) fn replays(scenario: fn(u64), seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let runs = [0, 1].map(|_| run(seed, 0, false, scenario).expect("a seed failed"));
        assert_eq!(runs[0], runs[1], "seed {seed} is not the same run twice");
    }
}
