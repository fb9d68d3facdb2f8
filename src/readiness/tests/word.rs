//! The word: ticks, final states, lives.

use super::*;
use crate::primitives::guard::Left;
use crate::readiness::future::{Gone, Readiness};
use crate::readiness::scheduled_io::{Fields, LAST_GENERATION};
use std::future::Future;
use std::mem::MaybeUninit;
use std::pin::pin;
use std::task::{Context, Poll};

const TICKS: u32 = 1 << 28;

#[test]
fn an_entry_is_128_bytes_and_starts_as_zeros() {
    assert_eq!(size_of::<ScheduledIo>(), 128);
    assert_eq!(align_of::<ScheduledIo>(), 128);
    // SAFETY: that zeros are a valid entry is what the slab relies on, and what is checked here.
    let zeroed = unsafe { Box::<MaybeUninit<ScheduledIo>>::new(MaybeUninit::zeroed()).assume_init() };
    let default = Box::<ScheduledIo>::default();
    for io in [&zeroed, &default] {
        let fields = Fields { generation: 0, tick: 0, shutdown: false, waiters: NOBODY, ready: Ready::EMPTY };
        assert_eq!(io.fields(), fields);
        assert_eq!((kinds(io), io.is_locked()), (NOBODY, false));
        assert_eq!((io.guard.current(), io.guard.next_generation()), (None, 1));
        assert_eq!(io.look(1, READ), Polled::Stale);
        assert_eq!((io.owner.load(Relaxed), io.identity.load(Relaxed)), (0, 0));
        assert_eq!((io.fd.load(Relaxed), io.home.load(Relaxed), io.traits.load(Relaxed)), (0, 0, 0));
        io.begin(1, Ready::EMPTY);
        io.guard.open();
        let (probe, waker) = Probe::new();
        assert_eq!(poll(io, 1, 1, READ, &waker), Polled::Pending);
        assert!(io.deliver(1, Ready::READABLE));
        assert_eq!(probe.wakes(), 1);
    }
}

#[test]
fn a_stale_clear_does_nothing_until_the_tick_has_gone_all_the_way_round() {
    let (generation, io) = registered();
    let clears_nothing = |seen: ReadyEvent, n: u32| {
        assert!(io.clear(generation, seen));
        assert!(io.clear_exactly(generation, seen.tick, Ready::ALL));
        assert_eq!(io.fields().ready, Ready::READABLE, "a clear took what came {n} events later");
    };
    for start in [0, 1, 0xff, 0x7fff, TICKS / 2, TICKS - 2, TICKS - 1] {
        io.set_tick(start);
        assert!(io.deliver(generation, Ready::READABLE));
        let seen = event(io.look(generation, READ));
        assert_eq!(seen.tick, (start + 1) % TICKS);
        // The first events one by one, past every width at which a counter might have been cut by mistake.
        for n in 1..=1 << 17 {
            assert!(io.deliver(generation, Ready::READABLE));
            clears_nothing(seen, n);
        }
        // Then by leaps, each with an event of its own behind it, until the tick is about to be the same again.
        let leaps = (1 << 17..TICKS).step_by(4093);
        let edges = (17..28).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1, TICKS - (1 << (bits - 10))]);
        for n in leaps.chain(edges).chain(TICKS - 300..TICKS) {
            io.set_tick((seen.tick + n - 1) % TICKS);
            assert!(io.deliver(generation, Ready::READABLE));
            assert_eq!(io.fields().tick, (seen.tick + n) % TICKS);
            clears_nothing(seen, n);
        }
        let fields = io.fields();
        assert_eq!((fields.generation, fields.shutdown, fields.waiters), (generation, false, NOBODY));
        assert!(io.clear(generation, event(io.look(generation, READ))));
        assert_eq!(io.look(generation, READ), Polled::Pending, "a clear of what is current works at any tick");
    }
}

#[test]
fn that_urgent_data_came_outlives_every_clear_and_is_no_readiness() {
    let (generation, io) = registered();
    assert!(io.deliver(generation, Ready::ALL.without(Ready::PRIORITY)));
    assert!(!io.had_urgent());
    assert!(io.deliver(generation, Ready::PRIORITY));
    assert!(io.clear_exactly(generation, io.tick(), Ready::ALL));
    assert!(io.had_urgent());
    assert_eq!(io.fields().ready, Ready::EMPTY);
    assert_eq!(io.look(generation, Interest::PRIORITY), Polled::Pending);
    io.begin(generation + 1, Ready::EMPTY);
    assert!(!io.had_urgent(), "that was another life");
}

#[test]
fn the_wrap_of_the_tick_changes_nothing_else() {
    let (generation, io) = registered();
    let (_probe, waker) = Probe::new();
    assert_eq!(poll(io, generation, 1, WRITE, &waker), Polled::Pending);
    io.set_tick(TICKS - 1);
    assert!(io.deliver(generation, Ready::READABLE));
    let waiters = Kinds { writer: true, ..NOBODY };
    assert_eq!(io.fields(), Fields { generation, tick: 0, shutdown: false, waiters, ready: Ready::READABLE });
}

#[test]
fn a_clear_keeps_the_shutdown_and_the_waiters() {
    let (generation, io) = registered();
    let (_probe, waker) = Probe::new();
    for (key, interest) in [(1, WRITE), (2, WRITE)] {
        assert_eq!(poll(io, generation, key, interest, &waker), Polled::Pending);
    }
    assert!(io.deliver(generation, Ready::READABLE));
    let before = io.fields();
    assert_eq!(before.waiters, Kinds { writer: true, list: true, reader: false });
    assert!(io.clear(generation, event(io.look(generation, READ))));
    assert_eq!(io.fields(), Fields { ready: Ready::EMPTY, ..before });

    assert!(io.deliver(generation, Ready::READABLE));
    let seen = event(io.look(generation, READ));
    assert!(io.shut_down(generation));
    assert!(io.clear(generation, seen));
    assert!(io.fields().shutdown, "the clear took the shutdown");
    assert_eq!(io.look(generation, READ), Polled::Shutdown);
    assert_eq!(poll(io, generation, 1, WRITE, &waker), Polled::Shutdown);
    assert_eq!(kinds(io), NOBODY);
}

#[test]
fn each_update_keeps_the_fields_that_it_does_not_own() {
    let (generation, io) = registered();
    let (_probe, waker) = Probe::new();
    io.set_tick(77);
    assert!(io.deliver(generation, Ready::PRIORITY | Ready::READ_CLOSED));
    let before = io.fields();
    assert_eq!(poll(io, generation, 1, WRITE, &waker), Polled::Pending);
    let waiting = Fields { waiters: Kinds { writer: true, ..NOBODY }, ..before };
    assert_eq!(io.fields(), waiting, "a waiter's bit");
    assert!(io.deliver(generation, Ready::READABLE));
    let delivered = Fields { tick: 79, ready: before.ready | Ready::READABLE, ..waiting };
    assert_eq!(io.fields(), delivered, "a delivery for others");
    assert!(io.clear_exactly(generation, 79, Ready::PRIORITY));
    let cleared = Fields { ready: Ready::READABLE | Ready::READ_CLOSED, ..delivered };
    assert_eq!(io.fields(), cleared, "a clear of one state");
    assert!(io.shut_down(generation));
    assert_eq!(io.fields(), Fields { shutdown: true, waiters: NOBODY, ..cleared }, "a shutdown");
    io.end(generation);
    assert_eq!(io.fields(), Fields { generation: 0, shutdown: true, waiters: NOBODY, ..cleared }, "the end");
}

#[test]
fn a_write_event_delays_a_readers_clear_by_one_look_and_no_more() {
    let (generation, io) = registered();
    let (probe, waker) = Probe::new();
    assert!(io.deliver(generation, Ready::READABLE));
    let seen = event(io.look(generation, READ));
    assert!(io.deliver(generation, Ready::WRITABLE));
    assert!(io.clear(generation, seen));
    let again = event(io.look(generation, READ));
    assert_eq!(again.ready, Ready::READABLE, "a reader is told of reading alone");
    assert!(io.clear(generation, again));
    assert_eq!(poll(io, generation, 1, READ, &waker), Polled::Pending);
    assert_eq!(event(io.look(generation, WRITE)).ready, Ready::WRITABLE, "the reader cleared the writer's readiness");
    assert_eq!(probe.wakes(), 0);
}

#[test]
fn final_states_survive_a_clear() {
    let (generation, io) = registered();
    assert!(io.deliver(generation, Ready::ALL));
    let everything = READ | WRITE | Interest::PRIORITY | Interest::ERROR;
    let seen = event(io.look(generation, everything));
    assert_eq!(seen.ready, Ready::ALL);
    assert!(io.clear(generation, seen));
    assert_eq!(event(io.look(generation, READ)).ready, Ready::READ_CLOSED);
    assert_eq!(event(io.look(generation, WRITE)).ready, Ready::WRITE_CLOSED);
    assert!(io.clear_exactly(generation, seen.tick, Ready::READ_CLOSED));
    assert_eq!(io.look(generation, READ), Polled::Pending, "who asked the kernel may take it back");
    assert_eq!(event(io.look(generation, WRITE)).ready, Ready::WRITE_CLOSED);
}

#[test]
fn a_clear_of_a_part_keeps_the_rest() {
    let (generation, io) = registered();
    assert!(io.deliver(generation, Ready::READABLE | Ready::WRITABLE | Ready::ERROR));
    let seen = event(io.look(generation, READ | WRITE));
    assert!(io.clear(generation, ReadyEvent { ready: Ready::READABLE, ..seen }));
    assert_eq!(io.fields().ready, Ready::WRITABLE | Ready::ERROR);
    assert!(io.clear(generation, ReadyEvent { ready: Ready::READABLE, ..seen }), "twice does no harm");
    assert_eq!(io.fields().ready, Ready::WRITABLE | Ready::ERROR);
}

#[test]
fn an_error_alone_wakes_every_direction() {
    let (generation, io) = registered();
    let interests = [READ, WRITE, Interest::PRIORITY, Interest::ERROR, READ | WRITE];
    let probes = interests.map(|interest| {
        let (probe, waker) = Probe::new();
        assert_eq!(poll(io, generation, usize::from(interest.bits()), interest, &waker), Polled::Pending);
        probe
    });
    assert!(io.deliver(generation, Ready::from_epoll(libc::EPOLLERR as u32)));
    for (interest, probe) in interests.into_iter().zip(&probes) {
        assert_eq!(probe.wakes(), 1, "{interest:?}");
        assert_eq!(event(io.look(generation, interest)).ready, Ready::ERROR);
    }
}

#[test]
fn an_event_wakes_those_whom_it_satisfies_and_nobody_else() {
    for mask in 0..=Ready::ALL.bits() {
        let (generation, io) = registered();
        let waiters: Vec<_> = (1..16u8)
            .map(|bits| {
                let interest = Interest::from_bits(bits).expect("known bits");
                let (probe, waker) = Probe::new();
                assert_eq!(poll(io, generation, 1, interest, &waker), Polled::Pending);
                (interest, probe)
            })
            .collect();
        let ready = Ready::from_bits(mask);
        assert!(io.deliver(generation, ready));
        for (interest, probe) in waiters {
            let satisfied = ready.intersects(interest.ready());
            assert_eq!(probe.wakes(), usize::from(satisfied), "{ready:?} for {interest:?}");
        }
        assert_eq!(io.fields().waiters, kinds(io), "those who stay are told by the bits");
        io.end(generation);
    }
}

// Names.

#[test]
fn garbage_generations_reach_nobody() {
    let (generation, io) = registered();
    let (probe, waker) = Probe::new();
    assert_eq!(poll(io, generation, 1, READ, &waker), Polled::Pending);
    let before = io.fields();
    // The word keeps 24 bits of the generation; a handle has 32.
    let others = (0..32).map(|bit| generation ^ 1 << bit).chain([generation + 1, generation.wrapping_sub(1), u32::MAX]);
    for garbage in others {
        let seen = ReadyEvent { ready: Ready::ALL, tick: 0 };
        assert_eq!(io.look(garbage, READ), Polled::Stale, "{garbage:#x}");
        assert_eq!(poll(io, garbage, 2, READ, &waker), Polled::Stale);
        assert!(!io.deliver(garbage, Ready::ALL) && !io.shut_down(garbage));
        assert!(!io.clear(garbage, seen) && !io.clear_exactly(garbage, 0, Ready::ALL));
        io.end(garbage);
        let mut future = pin!(Readiness::new(io, garbage, READ));
        assert_eq!(future.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(Err(Gone::Stale)));
    }
    assert_eq!((io.fields(), kinds(io), probe.wakes()), (before, Kinds { reader: true, ..NOBODY }, 0));
}

#[test]
fn garbage_indices_reach_no_memory() {
    let (generation, io) = registered();
    let before = io.fields();
    let mut seed = 1u64;
    for _ in 0..100_000 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        // An entry of another test may be found, but not in a life that it lives.
        if let Some(found) = IOS.get(seed as u32 >> 3) {
            assert!(!found.deliver((seed >> 32) as u32 | 1 << 20, Ready::ALL));
        }
    }
    assert_eq!((io.fields(), io.look(generation, READ)), (before, Polled::Pending));
}

#[test]
fn an_old_handle_never_meets_the_next_life() {
    let (first, io) = registered();
    let (old, waker) = Probe::new();
    assert_eq!(poll(io, first, 1, READ, &waker), Polled::Pending);
    assert!(io.guard.close(first));
    io.end(first);
    assert_eq!(old.wakes(), 1, "whoever waits is told of the end");
    assert_eq!(io.guard.leave(), Left::Last);
    assert!(io.guard.recycle(LAST_GENERATION));
    let second = io.guard.next_generation();
    io.begin(second, Ready::EMPTY);
    io.guard.open();
    let (new, waker) = Probe::new();
    assert_eq!(poll(io, second, 1, READ, &waker), Polled::Pending);
    assert!(!io.deliver(first, Ready::ALL) && !io.shut_down(first) && !io.guard.enter(first));
    io.end(first);
    assert_eq!((new.wakes(), io.look(second, READ)), (0, Polled::Pending));
    assert!(io.deliver(second, Ready::READABLE));
    assert_eq!((old.wakes(), new.wakes()), (1, 1));
}

#[test]
fn an_entry_is_given_up_before_the_word_confuses_its_lives() {
    let io = Box::<ScheduledIo>::default();
    io.guard.age_to(LAST_GENERATION - 1);
    let generation = io.guard.next_generation();
    io.begin(generation, Ready::EMPTY);
    io.guard.open();
    assert_eq!((generation, io.fields().generation), (LAST_GENERATION, LAST_GENERATION));
    assert!(io.deliver(generation, Ready::READABLE));
    assert!(io.guard.close(generation));
    io.end(generation);
    assert_eq!(io.guard.leave(), Left::Last);
    assert!(!io.guard.recycle(LAST_GENERATION));
}

#[test]
fn a_life_may_begin_ready() {
    let io = Box::<ScheduledIo>::default();
    io.begin(1, Ready::WRITABLE);
    assert_eq!(io.look(1, READ), Polled::Pending);
    let seen = event(io.look(1, WRITE));
    assert_eq!(seen, ReadyEvent { ready: Ready::WRITABLE, tick: 0 });
    assert!(io.clear(1, seen));
    assert_eq!(io.look(1, WRITE), Polled::Pending);
}
