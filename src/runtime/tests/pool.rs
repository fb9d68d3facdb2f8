//! Threads for calls that block.

use crate::runtime::pool::{Job, Pool};
use crate::runtime::shared::now;
use std::ffi::CString;
use std::process::Command;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::*};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);
/// What takes so long will never come.
const LOST: Duration = Duration::from_secs(60);

fn pool(limit: usize, idle_for: Duration) -> Arc<Pool> {
    Arc::new(Pool::new(limit, idle_for, CString::from(c"blocks"), 256 << 10))
}

fn end(pool: &Arc<Pool>) {
    pool.close();
    wait_for_threads(pool);
    assert_eq!((pool.threads(), pool.queued()), (0, 0));
    assert_eq!(Arc::strong_count(pool), 1, "a thread has not ended yet");
}

fn wait_for_threads(pool: &Pool) {
    assert!(pool.join(now() + LOST.as_nanos() as u64), "threads do not end");
}

fn receive<T>(from: &Receiver<T>) -> T {
    from.recv_timeout(LOST).expect("a job was lost")
}

type Call = Box<dyn FnOnce() + Send>;

/// What the job of this call has for an argument: the call itself.
fn argument(call: impl FnOnce() + Send + 'static) -> *mut Call {
    Box::into_raw(Box::new(Box::new(call)))
}

/// # Safety
/// The argument is the caller's.
unsafe fn make_call(argument: *const ()) {
    // SAFETY: it came out of `argument`, and by the caller's word nobody else has it.
    (*unsafe { Box::from_raw(argument.cast_mut().cast::<Call>()) })();
}

fn job(argument: *mut Call) -> Job {
    // SAFETY: the call may be made anywhere, and belongs to the job until it runs.
    unsafe { Job::new(make_call, argument.cast()) }
}

/// A call that no thread will make.
fn discard(argument: *mut Call) {
    // SAFETY: the job came back, and the call with it.
    drop(unsafe { Box::from_raw(argument) });
}

fn submit(pool: &Arc<Pool>, call: impl FnOnce() + Send + 'static) {
    Pool::submit(pool, job(argument(call))).expect("an open pool");
}

/// Occupies a thread from here until what it returns is dropped.
fn occupy(pool: &Arc<Pool>) -> Sender<()> {
    let (entered, enters) = channel();
    let held = occupy_later(pool, move || entered.send(()).expect("somebody waits"));
    receive(&enters);
    held
}

fn occupy_later(pool: &Arc<Pool>, entered: impl FnOnce() + Send + 'static) -> Sender<()> {
    let (held, holds): (_, Receiver<()>) = channel();
    submit(pool, move || {
        entered();
        assert!(holds.recv().is_err(), "dropped");
    });
    held
}

/// Ends the pool when what occupies its threads is gone.
fn end_after<T>(pool: &Arc<Pool>, held: T) {
    drop(held);
    end(pool);
}

/// A thread is free a little after its job has returned.
fn wait_until_free(pool: &Pool, threads: usize) {
    while pool.free() < threads {
        thread::yield_now();
    }
}

#[test]
fn a_pool_that_nobody_used_has_no_threads() {
    let pool = pool(4, LONG);
    assert_eq!(pool.threads(), 0);
    end(&pool);
}

#[test]
fn jobs_of_one_thread_begin_in_the_order_of_their_submission() {
    let pool = pool(1, LONG);
    let held = occupy(&pool);
    let (ran, runs) = channel();
    for n in 0..100 {
        let ran = ran.clone();
        submit(&pool, move || ran.send(n).expect("the test lives"));
    }
    assert_eq!((pool.threads(), pool.queued()), (1, 100));
    drop((held, ran));
    assert!(runs.iter().eq(0..100));
    end(&pool);
}

#[test]
fn a_thread_is_made_for_each_job_that_finds_none_free_up_to_the_limit() {
    let pool = pool(3, LONG);
    let mut held = Vec::new();
    for threads in 1..=3 {
        held.push(occupy(&pool));
        assert_eq!((pool.threads(), pool.queued()), (threads, 0));
    }
    let (ran, runs) = channel();
    submit(&pool, move || ran.send(()).expect("the test lives"));
    assert_eq!((pool.threads(), pool.queued()), (3, 1));
    held.pop();
    receive(&runs);
    end_after(&pool, held);
}

/// Two jobs do not rely on the same free thread, though it took neither yet.
#[test]
fn a_burst_gets_a_thread_for_each_job() {
    let pool = pool(8, LONG);
    // One that is free already: the first of the burst has it for itself.
    drop(occupy(&pool));
    wait_until_free(&pool, 1);
    let (entered, enters) = channel();
    let held: Vec<_> = (0..8)
        .map(|_| {
            let entered = entered.clone();
            occupy_later(&pool, move || entered.send(()).expect("the test lives"))
        })
        .collect();
    for _ in 0..8 {
        receive(&enters);
    }
    assert_eq!((pool.threads(), pool.queued()), (8, 0));
    end_after(&pool, held);
}

#[test]
fn a_free_thread_is_used_again() {
    let pool = pool(8, LONG);
    for _ in 0..1000 {
        drop(occupy(&pool));
        wait_until_free(&pool, 1);
        assert_eq!(pool.threads(), 1);
    }
    end(&pool);
}

/// So that the others sleep until their time is up.
#[test]
fn the_thread_that_fell_asleep_last_is_woken() {
    let pool = pool(4, LONG);
    let (ran, runs) = channel();
    let here = {
        let ran = ran.clone();
        move || ran.send(thread::current().id()).expect("the test lives")
    };
    let held: Vec<_> = (0..4).map(|_| (occupy_later(&pool, here.clone()), receive(&runs))).collect();
    for (n, (held, last)) in held.into_iter().enumerate() {
        drop(held);
        wait_until_free(&pool, n + 1);
        for _ in 0..3 {
            submit(&pool, here.clone());
            assert_eq!(receive(&runs), last);
            wait_until_free(&pool, n + 1);
        }
    }
    end(&pool);
}

#[test]
fn threads_without_work_end_and_new_ones_are_made() {
    let pool = pool(3, Duration::from_millis(1));
    for _ in 0..3 {
        let held: Vec<_> = (0..3).map(|_| occupy(&pool)).collect();
        assert_eq!(pool.threads(), 3);
        drop(held);
        // Nobody closed the pool: it is the threads' own patience that ends.
        wait_for_threads(&pool);
        assert_eq!(pool.threads(), 0);
    }
    end(&pool);
}

/// A thread whose time is up takes a job that was submitted meanwhile, or leaves it to a new one.
#[test]
fn no_job_is_lost_to_a_thread_that_ends() {
    let pool = pool(1, Duration::ZERO);
    let (ran, runs) = channel();
    for n in 0..20_000 {
        let ran = ran.clone();
        submit(&pool, move || ran.send(n).expect("the test lives"));
        assert_eq!(receive(&runs), n);
    }
    end(&pool);
}

#[test]
fn a_job_that_no_thread_began_can_be_revoked() {
    let pool = pool(1, LONG);
    let held = occupy(&pool);
    let (ran, runs) = channel();
    let calls: Vec<_> = (0..5)
        .map(|n| {
            let ran = ran.clone();
            argument(move || ran.send(n).expect("the test lives"))
        })
        .collect();
    let places: Vec<_> = calls.iter().map(|&call| Pool::submit(&pool, job(call)).expect("an open pool")).collect();
    for n in [3, 0] {
        assert!(pool.revoke(places[n]));
        assert!(!pool.revoke(places[n]), "it is gone");
        discard(calls[n]);
    }
    assert_eq!(pool.queued(), 3);
    pool.close();
    assert!(pool.revoke(places[4]), "closed or not");
    discard(calls[4]);
    drop((held, ran));
    assert_eq!(runs.iter().collect::<Vec<_>>(), [1, 2]);
    end(&pool);
    assert!(!pool.revoke(places[1]), "it ran");
}

/// In any order, beside jobs that stay.
#[test]
fn of_many_jobs_those_run_that_were_not_revoked() {
    let pool = pool(1, LONG);
    let held = occupy(&pool);
    let (ran, runs) = channel();
    let queued: Vec<_> = (0..1000)
        .map(|n| {
            let ran = ran.clone();
            let call = argument(move || ran.send(n).expect("the test lives"));
            (call, Pool::submit(&pool, job(call)).expect("an open pool"))
        })
        .collect();
    let stays = |n: usize| n % 10 == 3;
    for n in (0..1000).map(|n| n * 7 % 1000).filter(|&n| !stays(n)) {
        assert!(pool.revoke(queued[n].1));
        discard(queued[n].0);
    }
    assert_eq!(pool.queued(), 100);
    drop((held, ran));
    assert!(runs.iter().eq((0..1000).filter(|&n| stays(n))));
    assert!(queued.iter().all(|&(_, place)| !pool.revoke(place)));
    end(&pool);
}

#[test]
fn a_job_that_runs_cannot_be_revoked() {
    let pool = pool(1, LONG);
    let (entered, enters) = channel();
    let (held, holds) = channel::<()>();
    let call = argument(move || {
        entered.send(()).expect("the test lives");
        assert!(holds.recv().is_err(), "dropped");
    });
    let place = Pool::submit(&pool, job(call)).expect("an open pool");
    receive(&enters);
    assert!(!pool.revoke(place));
    end_after(&pool, held);
}

#[test]
fn a_closed_pool_gives_jobs_back_and_runs_what_it_has() {
    let pool = pool(1, LONG);
    let held = occupy(&pool);
    let (ran, runs) = channel();
    submit(&pool, move || ran.send(()).expect("the test lives"));
    pool.close();
    let call = argument(|| unreachable!("it was refused"));
    let Err((error, _job)) = Pool::submit(&pool, job(call)) else { panic!("the pool is closed") };
    assert_eq!(error, libc::ESHUTDOWN);
    discard(call);
    drop(held);
    receive(&runs);
    end(&pool);
}

#[test]
fn a_join_says_that_a_thread_is_stuck() {
    let pool = pool(2, LONG);
    let held = occupy(&pool);
    pool.close();
    assert!(!pool.join(0), "long past");
    assert!(!pool.join(now() + 1_000_000));
    assert_eq!(pool.threads(), 1);
    end_after(&pool, held);
}

#[test]
fn a_panic_costs_no_thread() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("dropped"));
        }
    }
    let pool = pool(1, LONG);
    let (ran, runs) = channel();
    let here = || thread::current().id();
    let first = ran.clone();
    submit(&pool, move || first.send(here()).expect("the test lives"));
    submit(&pool, || std::panic::resume_unwind(Box::new("thrown")));
    submit(&pool, || std::panic::resume_unwind(Box::new(Bomb)));
    submit(&pool, move || ran.send(here()).expect("the test lives"));
    let ran: Vec<_> = runs.iter().collect();
    assert!(ran.len() == 2 && ran[0] == ran[1], "the same thread went on");
    // It is as free as before: the next job needs no other.
    let held = occupy(&pool);
    assert_eq!((pool.threads(), pool.queued()), (1, 0));
    end_after(&pool, held);
}

#[test]
fn a_thread_has_its_name_and_takes_no_signals_of_the_process() {
    let pool = pool(1, LONG);
    let (ran, runs) = channel();
    submit(&pool, move || {
        // SAFETY: the set is plain data, written by the call.
        let blocked = unsafe {
            let mut mask = std::mem::zeroed();
            libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &mut mask);
            [libc::SIGINT, libc::SIGTERM, libc::SIGCHLD, libc::SIGUSR1, libc::SIGSEGV]
                .map(|signal| libc::sigismember(&mask, signal) == 1)
        };
        ran.send((thread::current().name().map(str::to_owned), blocked)).expect("the test lives");
    });
    let (name, blocked) = receive(&runs);
    assert_eq!(name.as_deref(), Some("blocks"));
    assert_eq!(blocked, [true, true, true, true, false]);
    end(&pool);
}

#[test]
fn a_job_comes_back_where_no_thread_can_be_made() {
    // More than a process can address.
    let pool = Arc::new(Pool::new(4, LONG, CString::default(), 1 << 50));
    for _ in 0..2 {
        let call = argument(|| unreachable!("there is no thread"));
        let Err((error, _job)) = Pool::submit(&pool, job(call)) else { panic!("there is no such stack") };
        assert!(matches!(error, libc::EAGAIN | libc::ENOMEM), "{error}");
        discard(call);
        assert_eq!((pool.threads(), pool.queued()), (0, 0));
    }
    end(&pool);
}

/// Where there are some threads but no more can be made, the job waits for one of them. In a process of its own, as its
/// memory is used up.
#[test]
fn a_pool_does_with_the_threads_that_can_be_made() {
    const CHILD: &str = "ASYNCIO_TEST_POOL_WITHOUT_MEMORY";
    if std::env::var_os(CHILD).is_none() {
        let name = "runtime::tests::pool::a_pool_does_with_the_threads_that_can_be_made";
        let test = std::env::current_exe().expect("this program");
        let child = Command::new(test).args(["--exact", name]).env(CHILD, "1").output().expect("a child");
        let passed = child.status.success() && String::from_utf8_lossy(&child.stdout).contains("1 passed");
        return assert!(passed, "{child:?}");
    }
    // A stack that the C library does not keep for later.
    let pool = Arc::new(Pool::new(4, LONG, CString::default(), 64 << 20));
    let held = occupy(&pool);
    let (ran, runs) = channel();
    let call = argument(move || ran.send(()).expect("the test lives"));
    let before = limit_memory(|limit| limit.rlim_cur = 0);
    let submitted = Pool::submit(&pool, job(call));
    limit_memory(|limit| *limit = before);
    assert!(submitted.is_ok());
    assert_eq!((pool.threads(), pool.queued()), (1, 1));
    drop(held);
    receive(&runs);
    end(&pool);
}

/// Returns the limit that was in force.
fn limit_memory(change: impl FnOnce(&mut libc::rlimit)) -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is writable.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) }, 0);
    let before = limit;
    change(&mut limit);
    // SAFETY: the structure is readable.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
    before
}

/// A million jobs from four threads, as the one thread of the pool comes and goes and the pool is closed.
#[test]
fn each_of_a_million_jobs_runs_once_or_comes_back() {
    const ROUNDS: usize = 1000;
    const SUBMITTERS: usize = 4;
    const JOBS: usize = 250;
    /// # Safety
    /// The argument points to a counter that lives until the pool has ended.
    unsafe fn count(argument: *const ()) {
        // SAFETY: as the caller says.
        unsafe { &*argument.cast::<AtomicU8>() }.fetch_add(1, Relaxed);
    }
    let mut came_back = 0;
    for round in 0..ROUNDS {
        let pool = pool(1, if round % 2 == 0 { LONG } else { Duration::ZERO });
        let runs: Vec<AtomicU8> = (0..SUBMITTERS * JOBS).map(|_| AtomicU8::new(0)).collect();
        let (submitted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for mine in runs.chunks(JOBS) {
                let (pool, submitted, refused) = (&pool, &submitted, &refused);
                scope.spawn(move || {
                    for counter in mine {
                        // SAFETY: the counters live until the end of the round, which waits for the pool's.
                        let job = unsafe { Job::new(count, ptr::from_ref(counter).cast()) };
                        if let Err((error, _job)) = Pool::submit(pool, job) {
                            assert_eq!(error, libc::ESHUTDOWN);
                            counter.fetch_add(1, Relaxed);
                            refused.fetch_add(1, Relaxed);
                        }
                        submitted.fetch_add(1, Relaxed);
                    }
                });
            }
            // From the first job to the last, as the rounds go.
            while submitted.load(Relaxed) < round * SUBMITTERS * JOBS / ROUNDS {
                thread::yield_now();
            }
            pool.close();
        });
        end(&pool);
        let odd = runs.iter().filter(|runs| runs.load(Relaxed) != 1).count();
        assert_eq!(odd, 0, "jobs of round {round} were lost, or ran twice");
        came_back += refused.load(Relaxed);
    }
    assert!(came_back > 0, "the close raced nobody");
}
