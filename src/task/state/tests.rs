//! Each edge of the state word, and what it leaves.

use super::*;

fn open() -> State {
    let state = State::default();
    state.open(1, false, true);
    state
}

#[test]
fn a_wake_during_the_poll_requeues_once() {
    let state = open();
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.wake_by_ref(), Wake::Nothing);
    assert_eq!(state.wake_by_ref(), Wake::Nothing);
    assert_eq!(state.park(false, false), Park::Requeue);
    assert_eq!(state.wake_by_ref(), Wake::Nothing, "queued at most once");
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.park(false, false), Park::Parked);
    assert_eq!(state.refs(), 2);
}

#[test]
fn a_task_that_asks_to_go_round_does_so_once() {
    let state = open();
    assert_eq!(state.start(), Start::Poll);
    let running = state.0.load(Relaxed);
    assert_eq!(state.park(false, true), Park::Requeue);
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.park(false, true), Park::Requeue);
    assert_eq!(state.0.load(Relaxed), running, "no write");
    assert_eq!(state.wake_by_ref(), Wake::Nothing, "it is queued already");
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.park(false, false), Park::Parked, "the poll saw what the wake was for");
}

#[test]
fn a_wake_on_the_schedulers_thread_saves_the_start_its_write() {
    let state = open();
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.park(false, false), Park::Parked);
    assert_eq!(state.wake_named(1, || true), Named::Submit { kept: false });
    let queued = state.0.load(Relaxed);
    assert_eq!(state.wake_named(1, || true), Named::Nothing, "it is queued already");
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.0.load(Relaxed), queued, "the second wake came before the poll, which is for both");
    assert_eq!(state.park(false, false), Park::Parked);
    state.ref_inc();
    assert_eq!(state.wake_by_val(), Wake::Submit);
    let queued = state.0.load(Relaxed);
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.0.load(Relaxed), queued);
    assert_eq!(state.refs(), 3);
}

#[test]
fn a_task_that_goes_round_ends_where_it_is_asked_to() {
    let state = open();
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.park(false, true), Park::Requeue);
    assert_eq!(state.abort_named(1, || false), Named::Nothing, "its runner will look");
    assert_eq!(state.start(), Start::Cancel);
    let state = open();
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.park(false, true), Park::Requeue);
    assert!(state.abandon());
    assert_eq!(state.start(), Start::Abandoned);
    assert!(!state.is_running(1));
}

#[test]
fn a_task_that_is_given_up_as_it_is_dropped_keeps_its_cell() {
    let state = open();
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.end(true), End::Drop);
    assert!(state.abandon());
    assert_eq!(state.finish(), Finish::Quiet { last: false });
    assert_eq!(state.take_join(1), Join::Taken);
    assert!(!state.ref_dec(1), "its worker is told from others by what the cell says");
    assert!(state.is_abandoned(1) && !state.is_running(1));
}

#[test]
fn whoever_waits_for_the_return_of_a_poll_is_not_misled() {
    let state = open();
    state.set_exclusive();
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.park(false, true), Park::Requeue);
    assert!(!state.is_running(1));
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.park(true, true), Park::Requeue);
    assert!(state.is_pinned(), "what it holds is noted");
}

#[test]
fn a_task_that_ended_with_operations_waits_for_the_last() {
    let state = open();
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.drained(), Wake::Nothing, "it still runs");
    assert_eq!(state.drain(), End::Drop);
    assert!(state.is_pinned(), "its operations are its worker's");
    assert_eq!(state.wake_by_ref(), Wake::Nothing);
    assert_eq!(state.abort_named(1, || false), Named::Nothing);
    assert_eq!(state.drained(), Wake::Submit);
    assert_eq!(state.drained(), Wake::Nothing, "queued once");
    assert_eq!(state.start(), Start::End);
    assert_eq!(state.end(true), End::Drop);
    assert_eq!(state.finish(), Finish::Quiet { last: false });
    assert_eq!(state.take_join(1), Join::Taken);
}

#[test]
fn a_task_is_held_as_long_as_it_has_operations() {
    let state = open();
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.park(true, false), Park::Parked);
    assert!(state.is_pinned());
    assert_eq!(state.wake_by_ref(), Wake::Submit);
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.park(false, false), Park::Parked);
    assert!(!state.is_pinned());
}

#[test]
fn a_return_beats_an_abort() {
    let state = open();
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.abort_named(1, || false), Named::Nothing);
    assert_eq!(state.end(true), End::Drop);
    assert_eq!(state.finish(), Finish::Quiet { last: false });
    assert_eq!(state.take_join(1), Join::Taken);
    assert_eq!(state.take_join(1), Join::Stale);
    assert!(state.ref_dec(1));
}

#[test]
fn a_shielded_task_is_polled_when_it_is_asked_to_end() {
    let state = open();
    state.set_shielded();
    assert_eq!(state.start(), Start::Poll);
    assert!(!state.is_cancelled());
    assert_eq!(state.abort_named(1, || false), Named::Nothing);
    assert!(state.is_cancelled());
    assert_eq!(state.park(false, false), Park::Requeue, "the poll may have looked before");
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.park(false, false), Park::Parked, "once was enough");
    assert_eq!(state.abort_named(1, || false), Named::Submit { kept: true });
    assert!(!state.ref_dec(1));
    state.cancel();
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.end(true), End::Drop);
}

#[test]
fn a_name_is_good_until_ended_and_joined() {
    let state = open();
    assert_eq!(state.wake_named(2, || false), Named::Stale);
    assert_eq!(state.detach(1), Detach::Detached { wake: false, drop_output: false });
    assert!(!state.ref_dec(1));
    assert_eq!(state.take_join(1), Join::Stale);
    assert_eq!(state.wake_named(1, || false), Named::Nothing, "a detached task that lives can be woken");
    assert_eq!(state.start(), Start::Poll);
    assert_eq!(state.end(true), End::Drop);
    assert_eq!(state.finish(), Finish::Loud { wake: false, drop_output: true });
    assert_eq!(state.wake_named(1, || false), Named::Stale);
}

#[test]
fn an_abandoned_task_is_never_dropped() {
    let state = open();
    assert_eq!(state.start(), Start::Poll);
    assert!(state.abandon());
    assert!(!state.abandon());
    assert_eq!(state.end(true), End::Abandoned);
    assert_eq!(state.park(false, false), Park::Abandoned);
    assert_eq!(state.take_join(1), Join::Abandoned);
}

#[test]
fn a_count_that_is_full_stays_full() {
    let state = open();
    state.0.store(REFS.set(state.0.load(Relaxed), REFS.max() - 1), Relaxed);
    state.ref_inc();
    state.ref_inc();
    assert_eq!(state.generation(), 1, "nothing spills into the generation");
    assert!(!state.ref_dec(1));
    assert_eq!(state.refs(), REFS.max());
}

#[test]
fn the_last_generation_retires_the_cell() {
    let state = State::default();
    state.open(u32::MAX, false, false);
    assert!(!state.recycle());
    state.age_to(7);
    assert!(state.recycle());
}

#[test]
fn a_task_that_is_refused_was_never_there() {
    for joinable in [false, true] {
        let state = State::default();
        state.open(1, false, joinable);
        assert_eq!(state.abort_named(1, || false), Named::Nothing, "a shutdown may have seen it");
        let refs = 2 + u64::from(joinable);
        assert_eq!(state.retract(), Retract::Retracted { refs, wake: false });
        assert_eq!((state.wake_named(1, || false), state.detach(1)), (Named::Stale, Detach::Stale));
        assert_eq!(state.take_join(1), Join::Stale);
        assert!(!state.abandon() && state.ref_dec(refs));
    }
    let state = open();
    assert!(state.set_join_waker(1));
    assert_eq!(state.retract(), Retract::Retracted { refs: 3, wake: true });
    let state = open();
    assert!(state.abandon());
    assert_eq!(state.retract(), Retract::Abandoned);
    assert_eq!((state.start(), state.take_join(1)), (Start::Abandoned, Join::Abandoned));
}

#[test]
fn who_drops_nothing_of_the_programs_tells_nobody() {
    let state = open();
    assert_eq!(state.start(), Start::Poll);
    let running = state.0.load(Relaxed);
    assert_eq!(state.end(false), End::Drop);
    assert_eq!(state.0.load(Relaxed), running);
    assert!(state.abandon());
    assert_eq!(state.finish(), Finish::Quiet { last: false });
    assert!(state.is_abandoned(1) && state.refs() == 2, "given up too late, which is for ever all the same");
    let state = open();
    assert_eq!(state.start(), Start::Poll);
    assert!(state.abandon());
    assert_eq!(state.end(false), End::Abandoned);
}

#[test]
fn whoever_has_all_references_of_a_task_that_is_over_writes_nothing() {
    let state = open();
    assert_eq!(state.start(), Start::Poll);
    state.ref_inc();
    assert_eq!(state.end(true), End::Drop);
    assert_eq!(state.finish(), Finish::Quiet { last: false });
    assert!(state.try_ref() && !state.ref_dec(1), "it can be joined");
    assert_eq!(state.take_join(1), Join::Taken);
    assert!(!state.try_ref() && !state.try_ref_named(1), "nobody but a waker has a way to it");
    assert!(!state.ref_dec(1));
    let left = state.0.load(Relaxed);
    assert!(state.ref_dec(1) && state.is_held());
    assert_eq!(state.0.load(Relaxed), left);
    assert!(state.recycle() && !state.is_held());
}
