//! Models of the pool of threads that block: submits race a thread whose time is up, and the close.

use super::*;
use crate::primitives::sync::Arc;
use crate::runtime::pool::{Job, Place, Pool};
use crate::runtime::shared::NEVER;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// A job that is written by the one who submits it, and by the thread that runs it; loom sees where these race.
#[derive(Default)]
struct Errand {
    content: UnsafeCell<u32>,
    /// std's, so that loom does not order by it.
    runs: AtomicU32,
}

// SAFETY: loom checks the access to the content.
unsafe impl Sync for Errand {}

impl Errand {
    /// True: the pool took it.
    fn submit(&self, pool: &Arc<Pool>) -> bool {
        self.queue(pool).is_some()
    }

    fn queue(&self, pool: &Arc<Pool>) -> Option<Place> {
        // SAFETY: the errand is not shared with a thread of the pool yet.
        self.content.with_mut(|content| unsafe { *content = 1 });
        // SAFETY: an errand outlives its pool's threads, for which each model waits.
        Pool::submit(pool, unsafe { Job::new(Self::run, self.argument()) }).ok()
    }

    fn argument(&self) -> *const () {
        ptr::from_ref(self).cast()
    }

    /// # Safety
    /// The argument is an errand.
    unsafe fn run(argument: *const ()) {
        // SAFETY: as the caller says.
        let errand = unsafe { &*argument.cast::<Self>() };
        // SAFETY: loom checks that the submitter is done.
        errand.content.with_mut(|content| unsafe { *content += 1 });
        errand.runs.fetch_add(1, Relaxed);
    }

    /// It ran once if it was to, and the end of the pool's threads orders that before this.
    fn check(&self, expected: bool) {
        assert_eq!(self.runs.load(Relaxed), u32::from(expected));
        // SAFETY: loom checks that the thread is done.
        self.content.with(|content| assert_eq!(unsafe { *content }, 1 + u32::from(expected)));
    }
}

fn pool(limit: usize) -> Arc<Pool> {
    Arc::new(Pool::new(limit, Duration::ZERO, c"blocks".into(), 0))
}

/// A model with at most so many threads, its own and those of the pool, over its whole course.
fn model(threads: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.max_threads = threads;
    model.check(run);
}

/// Nobody closes the pool. The one thread sleeps, or is on its way, as its time is up and a second job comes: the thread
/// takes it, or a new one does.
#[test]
fn loom_pool_two_submits_race_the_end_of_an_idle_thread() {
    model(4, || {
        let pool = pool(1);
        let errands = Arc::new([Errand::default(), Errand::default()]);
        assert!(errands[0].submit(&pool));
        let other = thread::spawn({
            let (pool, errands) = (pool.clone(), errands.clone());
            move || assert!(errands[1].submit(&pool))
        });
        pool.let_time_pass();
        other.join().unwrap();
        assert!(pool.join(NEVER));
        errands.iter().for_each(|errand| errand.check(true));
    });
}

/// As above, and a third thread closes the pool: a job is given back, or it runs.
#[test]
fn loom_pool_two_submits_race_the_end_of_an_idle_thread_and_the_close() {
    model(5, || {
        let pool = pool(1);
        let errands = Arc::new([Errand::default(), Errand::default()]);
        assert!(errands[0].submit(&pool));
        let other = thread::spawn({
            let (pool, errands) = (pool.clone(), errands.clone());
            move || errands[1].submit(&pool)
        });
        let closer = thread::spawn({
            let pool = pool.clone();
            move || pool.close()
        });
        pool.let_time_pass();
        let taken = other.join().unwrap();
        closer.join().unwrap();
        assert!(pool.join(NEVER));
        errands[0].check(true);
        errands[1].check(taken);
    });
}

/// Time never passes: a job whose bell is lost would wait for ever, which loom reports.
#[test]
fn loom_pool_a_submit_wakes_a_thread_that_falls_asleep() {
    model(2, || {
        let pool = pool(1);
        let errands = [Errand::default(), Errand::default()];
        assert!(errands.iter().all(|errand| errand.submit(&pool)));
        while errands.iter().any(|errand| errand.runs.load(Relaxed) == 0) {
            thread::yield_now();
        }
        pool.close();
        assert!(pool.join(NEVER));
        errands.iter().for_each(|errand| errand.check(true));
    });
}

/// Two jobs that wait for each other: were both left to the one thread that is free, they would wait for ever.
#[test]
fn loom_pool_two_submits_do_not_rely_on_the_same_thread() {
    /// # Safety
    /// The argument is the number of those that came.
    unsafe fn meet(argument: *const ()) {
        // SAFETY: as the caller says.
        let came = unsafe { &*argument.cast::<AtomicU32>() };
        came.fetch_add(1, Relaxed);
        while came.load(Relaxed) < 2 {
            thread::yield_now();
        }
    }
    model(4, || {
        let (pool, errand, came) = (pool(2), Errand::default(), Arc::new(AtomicU32::new(0)));
        let submit = |pool: &Arc<Pool>, came: &Arc<AtomicU32>| {
            // SAFETY: the count outlives the pool's threads, for which the model waits.
            let job = unsafe { Job::new(meet, ptr::from_ref::<AtomicU32>(came).cast()) };
            assert!(Pool::submit(pool, job).is_ok());
        };
        // Leaves a thread behind that is free, or will be.
        assert!(errand.submit(&pool));
        let other = thread::spawn({
            let (pool, came) = (pool.clone(), came.clone());
            move || submit(&pool, &came)
        });
        submit(&pool, &came);
        other.join().unwrap();
        pool.close();
        assert!(pool.join(NEVER));
        errand.check(true);
        assert_eq!(came.load(Relaxed), 2);
    });
}

/// A job is revoked, or it runs.
#[test]
fn loom_pool_a_revoke_races_the_thread() {
    model(2, || {
        let pool = pool(1);
        let errands = [Errand::default(), Errand::default()];
        assert!(errands[0].submit(&pool));
        let place = errands[1].queue(&pool).expect("an open pool");
        let revoked = pool.revoke(place);
        pool.close();
        assert!(pool.join(NEVER));
        errands[0].check(true);
        errands[1].check(!revoked);
    });
}

/// As the last threads end, the one who joins hears of it, and each of them is waited for.
#[test]
fn loom_pool_a_join_hears_the_last_of_two_threads() {
    model(3, || {
        let pool = pool(2);
        let errands = [Errand::default(), Errand::default()];
        assert!(errands.iter().all(|errand| errand.submit(&pool)));
        pool.close();
        assert!(pool.join(NEVER));
        errands.iter().for_each(|errand| errand.check(true));
        assert_eq!(Arc::strong_count(&pool), 1, "a thread has not ended yet");
    });
}
