//! Random walks, with a census after each step.

use super::*;

/// A buffer that is used by somebody who wrote a number of his own into it.
struct Use<T> {
    what: T,
    ptr: *mut u8,
    stamp: u64,
    owner: u64,
}

/// Everybody who may use a pool, and what they have.
struct Walk {
    pool: Pool,
    seed: u64,
    stamps: u64,
    /// Taken out of the ring by the kernel.
    kernel: Vec<Use<u16>>,
    taken: Vec<Use<Taken>>,
    held: Vec<Use<Lease>>,
    out: Vec<Use<u64>>,
    stale: Vec<u64>,
    /// Owners of what was returned and not collected.
    returned: Vec<u64>,
    wishes: u32,
}

impl Walk {
    fn new(seed: u64, count: u32) -> Self {
        let mut pool = Pool::new(count);
        pool.buffers.ring_memory().expect("memory");
        Self {
            pool,
            seed,
            stamps: 0,
            kernel: Vec::new(),
            taken: Vec::new(),
            held: Vec::new(),
            out: Vec::new(),
            stale: vec![0],
            returned: Vec::new(),
            wishes: 0,
        }
    }

    fn random(&mut self, below: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.seed >> 33) as usize % below
    }

    fn stamp<T>(&mut self, what: T, ptr: *mut u8) -> Use<T> {
        self.stamps += 1;
        // SAFETY: a buffer is longer than that, and its user may write it.
        unsafe { ptr.cast::<u64>().write(self.stamps) };
        Use { what, ptr, stamp: self.stamps, owner: self.stamps }
    }

    /// One of a list, whose number is still in its buffer.
    fn pick<T>(&mut self, list: fn(&mut Self) -> &mut Vec<Use<T>>) -> Option<Use<T>> {
        let n = list(self).len();
        let at = (n > 0).then(|| self.random(n))?;
        let picked = list(self).swap_remove(at);
        // SAFETY: a buffer that is in use.
        assert_eq!(unsafe { picked.ptr.cast::<u64>().read() }, picked.stamp, "a buffer had two users");
        Some(picked)
    }

    fn step(&mut self) {
        match self.random(12) {
            0 => self.refill(),
            1 => {
                if let Some((number, ptr, size)) = self.pool.consume() {
                    assert_eq!(size, SIZE);
                    let used = self.stamp(number, ptr);
                    self.kernel.push(used);
                }
            }
            2 | 3 => self.complete(),
            4 => self.take(),
            5 | 6 => self.keep_or_put_back(),
            7 => {
                if let Some(Use { what, ptr, stamp, owner }) = self.pick(|walk| &mut walk.held) {
                    self.out.push(Use { what: what.hand_out().lease, ptr, stamp, owner });
                }
            }
            8 => {
                if let Some(Use { what, ptr, stamp, owner }) = self.pick(|walk| &mut walk.out) {
                    let what = claim(what).expect("a live lease");
                    self.held.push(Use { what, ptr, stamp, owner });
                }
            }
            9 => self.give_back(),
            10 => self.collect(),
            _ => {
                let granted = self.pool.buffers.want_release();
                assert_eq!(granted, self.returned.is_empty());
                let outstanding = self.wishes > self.pool.wakes();
                self.wishes += u32::from(granted && !outstanding);
            }
        }
    }

    fn refill(&mut self) {
        let some = self.pool.buffers.refill();
        assert_eq!(some, self.pool.buffers.with_kernel > 0);
        let full = self.pool.buffers.with_kernel == self.pool.buffers.window();
        assert!(full || self.pool.buffers.free() == 0, "the kernel gets what there is");
    }

    fn complete(&mut self) {
        let Some(Use { what, ptr, stamp, owner }) = self.pick(|walk| &mut walk.kernel) else { return };
        if self.random(3) == 0 {
            self.pool.buffers.unfilled(what);
        } else {
            let lease = self.pool.buffers.filled(what, SIZE + 1, owner).expect("the kernel had it");
            assert_eq!(lease.bytes(), (ptr, SIZE), "no lease is longer than its buffer");
            self.held.push(Use { what: lease, ptr, stamp, owner });
        }
        let free = self.pool.buffers.free();
        assert!(self.pool.buffers.filled(what, 1, 0).is_none(), "a completion came twice");
        self.pool.buffers.unfilled(what);
        assert!(self.pool.buffers.filled(u16::MAX, 1, 0).is_none(), "a number that no buffer has");
        assert_eq!(self.pool.buffers.free(), free);
    }

    fn take(&mut self) {
        let free = self.pool.buffers.free();
        match self.pool.buffers.take() {
            Some(taken) => {
                let ptr = taken.ptr();
                assert_eq!(ptr.addr() % LINE, 0);
                let used = self.stamp(taken, ptr);
                self.taken.push(used);
            }
            None => assert_eq!(free, 0),
        }
    }

    fn keep_or_put_back(&mut self) {
        let Some(Use { what, ptr, stamp, owner }) = self.pick(|walk| &mut walk.taken) else { return };
        if self.random(3) == 0 {
            return self.pool.buffers.put_back(what);
        }
        let lease = self.pool.buffers.keep(what, 8, owner);
        assert_eq!(lease.bytes(), (ptr, 8));
        self.held.push(Use { what: lease, ptr, stamp, owner });
    }

    /// By drop, or by handle; a stale handle never does.
    fn give_back(&mut self) {
        let n = self.stale.len();
        let stale = self.random(n);
        assert_eq!(release(self.stale[stale]), Err(libc::EBADF));
        if let Some(held) = self.pick(|walk| &mut walk.held) {
            drop(held.what);
            self.returned.push(held.owner);
        }
        if let Some(out) = self.pick(|walk| &mut walk.out) {
            assert_eq!(release(out.what), Ok(()));
            self.returned.push(out.owner);
            self.stale.push(out.what);
        }
        let answered = if self.returned.is_empty() { self.pool.wakes() } else { self.wishes };
        assert_eq!(self.pool.wakes(), answered, "one wake a wish");
    }

    fn collect(&mut self) {
        self.returned.reverse();
        assert_eq!(self.pool.collected(), self.returned);
        self.returned.clear();
    }

    fn census(&mut self) {
        self.pool.census();
        let in_kernel = self.kernel.len() as u32 + u32::from(self.pool.in_ring());
        let leased = self.held.len() + self.out.len() + self.returned.len();
        assert_eq!((self.pool.buffers.with_kernel, self.pool.buffers.leased()), (in_kernel, leased as u32));
        let users = in_kernel + (self.taken.len() + leased) as u32;
        assert_eq!(self.pool.buffers.free() + users, self.pool.buffers.count);
    }

    /// The pool ends first; what is left comes back afterwards.
    fn end(mut self) {
        let out: HashMap<u64, u64> = self.out.iter().map(|used| (used.what, used.stamp)).collect();
        assert_eq!(out.len(), self.out.len(), "a handle was given twice");
        let wakes = self.pool.wakes.clone();
        self.taken.clear();
        drop(self.pool);
        for used in &self.out {
            // SAFETY: a live lease keeps its buffer.
            assert_eq!(unsafe { used.ptr.cast::<u64>().read() }, used.stamp);
            assert_eq!((release(used.what), release(used.what)), (Ok(()), Err(libc::EBADF)));
        }
        drop(self.held);
        assert_eq!(Arc::strong_count(&wakes), 1, "the memory is left behind");
    }
}

#[test]
fn every_buffer_is_in_one_place_whatever_happens() {
    for (seed, count) in [(1, 1), (2, 2), (3, 7), (4, 64), (5, 300), (6, 3), (7, 5)] {
        let mut walk = Walk::new(seed, count);
        for _ in 0..5_000 {
            walk.step();
            walk.census();
        }
        walk.end();
    }
}

/// The tail has 16 bits, and the ring far fewer entries.
#[test]
fn the_ring_runs_around() {
    let mut pool = Pool::new(5);
    let (_, entries) = pool.buffers.ring_memory().expect("memory");
    assert_eq!(entries, 8);
    for round in 0..30_000u64 {
        assert!(pool.buffers.refill());
        assert_eq!(pool.in_ring(), 5);
        for _ in 0..3 {
            let (number, ptr, _) = pool.consume().expect("published");
            let lease = pool.buffers.filled(number, 1, round).expect("the kernel had it");
            assert_eq!(lease.bytes().0, ptr);
        }
        assert_eq!(pool.collected(), [round; 3]);
    }
    assert!(pool.head < 30_000, "it never ran around");
}

#[test]
fn the_kernel_gets_no_more_than_the_window() {
    let mut pool = Pool::new(MAX_COUNT);
    let (_, entries) = pool.buffers.ring_memory().expect("memory");
    assert_eq!(u32::from(entries), WINDOW);
    assert!(pool.buffers.refill() && pool.buffers.refill());
    assert_eq!((u32::from(pool.in_ring()), pool.buffers.free()), (WINDOW, MAX_COUNT - WINDOW));
    pool.census();
}
