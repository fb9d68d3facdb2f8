//! The fake kernel keeps the contract, brings about what it is there for, and repeats itself.

use super::super::fake::*;
use super::*;
use std::collections::BTreeMap;

fn recv(number: u64, multishot: bool) -> Entry {
    if multishot {
        opcode::RecvMulti::new(Fd(-1), 3).build().user_data(number)
    } else {
        opcode::Recv::new(Fd(-1), std::ptr::null_mut(), 100).build().user_data(number)
    }
}

fn cancel(number: u64, target: u64) -> Entry {
    opcode::AsyncCancel::new(target).build().user_data(number)
}

/// A buffer ring that refills itself from what comes back.
struct Pool(Vec<[u64; 2]>);

impl Pool {
    fn put(&mut self, id: u16) {
        let tail = (self.0[0][1] >> 48) as u16;
        let at = usize::from(tail) % self.0.len();
        self.0[at] = [0x1000, 64 | u64::from(id) << 32 | self.0[at][1] & 0xffff << 48];
        self.0[0][1] = self.0[0][1] & 0xffff_ffff_ffff | u64::from(tail.wrapping_add(1)) << 48;
    }
}

/// What a run did, and whether each kind of mischief was in it.
#[derive(Default, PartialEq)]
struct Seen {
    completions: Vec<Completion>,
    refused: u32,
    twice: u32,
    short: u32,
    early_ends: u32,
    no_buffers: u32,
    lost_buffers: u32,
    late_cancels: u32,
    bursts: u32,
    notifications: u32,
    left_behind: u32,
    taken_in_part: u32,
}

/// Pushes entries and cancels at random, and checks that each entry ends.
fn run(seed: u64) -> Seen {
    let (mut ring, _) = FakeRing::new(seed, Chaos::WILD);
    let mut pool = Pool(vec![[0; 2]; 16]);
    (0..16).for_each(|id| pool.put(id));
    // SAFETY: the pool outlives the ring's last enter.
    unsafe { ring.register_buffers(pool.0.as_mut_ptr().cast(), 16, 3) }.expect("register");
    let mut random = Random::new(!seed);
    let (mut seen, mut open, mut started) = (Seen::default(), BTreeMap::new(), 0u64);
    while started < 400 || !open.is_empty() {
        if started < 400 {
            let target = started.saturating_sub(1 + random.below(20));
            let entry = match random.below(5) {
                0 => cancel(started, target),
                1 | 2 => recv(started, true),
                3 => opcode::SendZc::new(Fd(-1), std::ptr::null(), 100).build().user_data(started),
                _ => recv(started, false),
            };
            open.insert(started, Sqe::of(&entry));
            push(&mut ring, entry);
            started += 1;
        } else if open.values().all(Sqe::is_multishot) && !ring.needs_enter() {
            open.keys().for_each(|target| _ = push(&mut ring, cancel(1000, *target)));
        }
        let before = seen.completions.len();
        let wait = random.chance(500) && started == 400;
        let entered = ring.enter(wait, None, &mut seen.completions);
        seen.refused += u32::from(entered.is_err());
        seen.taken_in_part += u32::from(entered.is_ok() && ring.has_staged());
        seen.left_behind += u32::from(seen.completions.len() - before == Chaos::WILD.most && ring.needs_enter());
        seen.bursts += u32::from(seen.completions.len() - before > 12);
        for at in before..seen.completions.len() {
            let completion = seen.completions[at];
            completion.buffer().inspect(|id| pool.put(*id));
            note(&mut seen, &mut open, completion);
        }
    }
    seen
}

fn note(seen: &mut Seen, open: &mut BTreeMap<u64, Sqe>, completion: Completion) {
    let Some(sqe) = open.get(&completion.user_data).copied() else {
        return seen.twice += u32::from(completion.user_data != 1000);
    };
    let cancels = sqe.opcode == opcode::AsyncCancel::CODE;
    seen.late_cancels += u32::from(cancels && completion.result == -libc::EALREADY);
    seen.no_buffers += u32::from(completion.result == -libc::ENOBUFS);
    seen.lost_buffers += u32::from(completion.result < 0 && completion.buffer().is_some());
    seen.short += u32::from((1..64).contains(&completion.result));
    seen.notifications += u32::from(completion.is_notification());
    if !completion.has_more() {
        seen.early_ends += u32::from(sqe.is_multishot() && completion.result > 0);
        open.remove(&completion.user_data);
    }
}

#[test]
fn every_mischief_comes_and_every_entry_ends() {
    let mut total = Seen::default();
    for seed in 0..40 {
        let seen = run(seed);
        assert!(seen == run(seed), "seed {seed} does not repeat itself");
        total.refused += seen.refused;
        total.twice += seen.twice;
        total.short += seen.short;
        total.early_ends += seen.early_ends;
        total.no_buffers += seen.no_buffers;
        total.lost_buffers += seen.lost_buffers;
        total.late_cancels += seen.late_cancels;
        total.bursts += seen.bursts;
        total.notifications += seen.notifications;
        total.left_behind += seen.left_behind;
        total.taken_in_part += seen.taken_in_part;
    }
    let counts = [
        total.refused,
        total.twice,
        total.short,
        total.early_ends,
        total.no_buffers,
        total.lost_buffers,
        total.late_cancels,
        total.bursts,
        total.notifications,
        total.left_behind,
        total.taken_in_part,
    ];
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn a_calm_kernel_reorders_and_no_more() {
    let (mut ring, _) = FakeRing::new(1, Chaos::CALM);
    (0..100).for_each(|number| _ = push(&mut ring, nop(number)));
    let out = collect(&mut ring, 100);
    assert_all(&out, 100);
    assert!(!out.is_sorted_by_key(|completion| completion.user_data));
    assert_eq!((ring.in_kernel(), ring.needs_enter(), ring.seed()), (0, false, 1));
}

#[test]
fn results_can_be_decided() {
    let (mut ring, kernel) = FakeRing::new(1, Chaos::CALM);
    let mut refusals = 3;
    kernel.set_work(move |sqe| {
        refusals -= 1;
        if refusals >= 0 { -libc::EAGAIN } else { sqe.len as i32 / 2 }
    });
    push(&mut ring, recv(1, false));
    assert_eq!(collect(&mut ring, 1), [Completion { user_data: 1, result: 50, flags: 0 }]);
}

#[test]
fn a_receive_of_nothing_takes_no_buffer() {
    let (mut ring, kernel) = FakeRing::new(2, Chaos::CALM);
    let mut pool = Pool(vec![[0; 2]; 2]);
    pool.put(7);
    // SAFETY: the pool outlives the ring's last enter.
    unsafe { ring.register_buffers(pool.0.as_mut_ptr().cast(), 2, 3) }.expect("register");
    let mut results = [-libc::EAGAIN, -libc::EAGAIN, -libc::ECONNRESET, 0, 9].into_iter();
    kernel.set_work(move |sqe| {
        assert_eq!((sqe.addr, sqe.len), (0x1000, 64));
        results.next().expect("another attempt")
    });
    for expected in [(-libc::ECONNRESET, None), (0, None), (9, Some(7)), (-libc::ENOBUFS, None)] {
        // The last one comes of the multishot that gave 9.
        if expected.0 != -libc::ENOBUFS {
            push(&mut ring, recv(1, true));
        }
        let completion = collect(&mut ring, 1)[0];
        assert_eq!((completion.result, completion.buffer()), expected);
    }
}

#[test]
fn a_script_completes_from_another_thread() {
    let (mut ring, kernel) = FakeRing::new(0, Chaos::SCRIPT);
    let mut out = Vec::new();
    push(&mut ring, nop(1));
    push(&mut ring, recv(2, true));
    ring.enter(true, Some(Duration::from_nanos(1)), &mut out).expect("enter");
    assert_eq!((out.len(), ring.in_kernel(), kernel.held_entries().len()), (0, 2, 2));
    let tester = std::thread::spawn({
        let kernel = kernel.clone();
        move || kernel.complete(2, 5, 2)
    });
    assert_eq!(collect(&mut ring, 1), [Completion { user_data: 2, result: 5, flags: 2 }]);
    tester.join().expect("the tester");
    kernel.hold(1);
    push(&mut ring, cancel(3, 2));
    push(&mut ring, cancel(4, 1));
    out = collect(&mut ring, 3);
    out.sort_unstable_by_key(|completion| completion.user_data);
    let results: Vec<_> = out.iter().map(|completion| (completion.user_data, completion.result)).collect();
    assert_eq!(results[..2], [(2, -libc::ECANCELED), (3, 0)]);
    assert!(results[2].0 == 4 && [-libc::EALREADY, -libc::ENOENT].contains(&results[2].1));
    push(&mut ring, nop(5));
    out.clear();
    assert!(!ring.drain(None, &mut out), "one is held");
    assert_eq!(out, [Completion { user_data: 5, result: -libc::ECANCELED, flags: 0 }]);
    kernel.complete(1, 0, 0);
    assert!(ring.drain(None, &mut out));
    assert_eq!(ring.in_kernel(), 0);
}

#[test]
#[should_panic(expected = "seed 9: a wait without end, and nothing to come")]
fn a_sleep_that_nothing_ends_is_found() {
    let (mut ring, _) = FakeRing::new(9, Chaos::CALM);
    _ = ring.enter(true, None, &mut Vec::new());
}
