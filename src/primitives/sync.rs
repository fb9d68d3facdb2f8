//! The seam between the real synchronisation primitives, loom's, and the simulator's. The only place that asks
//! for `cfg(loom)` and `cfg(sim)` outside of tests.
//!
//! Locks are `parking_lot`'s and not std's: ThreadSanitizer understands them without a rebuilt standard library, and an
//! unlocked mutex is all zeros, which lets slab pages start as fresh zero pages.

#[cfg(not(loom))]
mod imp {
    #[cfg(not(all(sim, test)))]
    pub(crate) use parking_lot::{Condvar, Mutex};
    pub(crate) use std::sync::Arc;
    #[cfg(not(all(sim, test)))]
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64};
    #[cfg(not(all(sim, test)))]
    pub(crate) use std::thread;

    #[cfg(all(sim, test))]
    pub(crate) use crate::sim::sync::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Condvar, Mutex,
    };
    #[cfg(all(sim, test))]
    pub(crate) use crate::sim::{nature, thread};

    /// `std::cell::UnsafeCell` with loom's way of access, so that both builds run the same text.
    #[derive(Debug, Default)]
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }

    /// The first page of a slab holds `1 << FIRST_PAGE_BITS` entries.
    pub(crate) const FIRST_PAGE_BITS: u32 = 6;
    /// Slots of a worker's run queue.
    #[cfg(not(all(sim, test)))]
    pub(crate) const RUN_QUEUE_SLOTS: u32 = 256;
    #[cfg(all(sim, test))]
    pub(crate) const RUN_QUEUE_SLOTS: u32 = 8;

    /// An array of null pointers.
    pub(crate) const fn nulls<T, const N: usize>() -> [AtomicPtr<T>; N] {
        [const { AtomicPtr::new(std::ptr::null_mut()) }; N]
    }

    /// A page of `n` entries in their all-zero state, or null when memory is out. Never freed.
    ///
    /// # Safety
    /// All zero bytes are a valid `T` in its initial state.
    pub(crate) unsafe fn alloc_entries<T: Default>(n: usize) -> *mut T {
        match std::alloc::Layout::array::<T>(n) {
            Ok(layout) if layout.size() >= MAPPED => map(layout.size()).cast(),
            // SAFETY: the layout is not empty, and the caller vouches for all-zero entries.
            Ok(layout) if layout.size() > 0 => unsafe { std::alloc::alloc_zeroed(layout).cast() },
            _ => std::ptr::null_mut(),
        }
    }

    /// From so many bytes on a page of entries is mapped: the allocator would write all the zeros of what is aligned to more than
    /// its own blocks are, and half of what a slab has may never be used.
    const MAPPED: usize = 1 << 16;

    fn map(size: usize) -> *mut libc::c_void {
        // SAFETY: new memory, which is nobody's yet.
        let page = unsafe {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            libc::mmap(std::ptr::null_mut(), size, access, kind, -1, 0)
        };
        if page == libc::MAP_FAILED {
            return std::ptr::null_mut();
        }
        // LeakSanitizer looks for pointers in what was allocated, and not in what was mapped, unless it is told to.
        // SAFETY: the name is a C string.
        let tell = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__lsan_register_root_region".as_ptr()) };
        if !tell.is_null() {
            // SAFETY: the function of this name is the sanitizer's, and the page is never unmapped.
            unsafe {
                std::mem::transmute::<*mut libc::c_void, extern "C" fn(*mut libc::c_void, usize)>(tell)(page, size)
            };
        }
        page
    }

    /// A constructor that is `const` outside of loom, whose atomics cannot be.
    macro_rules! const_outside_loom {
        ($(#[$meta:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$meta])* $vis const fn $($rest)* };
    }

    /// A static that every loom execution gets afresh.
    macro_rules! process_static {
        ($(#[$meta:meta])* $vis:vis static $name:ident: $ty:ty = $init:expr;) => {
            $(#[$meta])* $vis static $name: $ty = $init;
        };
    }

    pub(crate) use {const_outside_loom, process_static};
}

#[cfg(loom)]
mod imp {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::Arc;
    use loom::sync::atomic;
    pub(crate) use loom::thread;
    use std::ops::{Deref, DerefMut};
    use std::sync::atomic::Ordering;

    /// True where `LOOM_EVERY_LOAD` is set: loom then tries all orders of loads too.
    ///
    /// loom tries two accesses the other way round if it knows of both, and of each word it keeps the last access alone. So it
    /// forgets a load as soon as another thread loads, and never tries the store that follows before the load that it forgot. A
    /// load that writes a word of its own beside is not forgotten; but then a model takes some ten times as long.
    fn every_load() -> bool {
        static ASKED_FOR: std::sync::LazyLock<bool> =
            std::sync::LazyLock::new(|| std::env::var_os("LOOM_EVERY_LOAD").is_some());
        *ASKED_FOR
    }

    /// loom's atomics with the word that a load writes.
    macro_rules! atomics {
        ($($name:ident $(<$t:ident>)? of $value:ty;)*) => {$(
            #[derive(Debug)]
            pub(crate) struct $name $(<$t>)? {
                word: atomic::$name $(<$t>)?,
                loads: atomic::AtomicBool,
            }

            impl $(<$t>)? $name $(<$t>)? {
                #[allow(dead_code, reason = "not each of them is made with a value in some model")]
                pub(crate) fn new(value: $value) -> Self {
                    Self { word: atomic::$name::new(value), loads: atomic::AtomicBool::new(false) }
                }

                #[track_caller]
                pub(crate) fn load(&self, order: Ordering) -> $value {
                    if every_load() {
                        self.loads.swap(true, Ordering::Relaxed);
                    }
                    self.word.load(order)
                }
            }

            impl $(<$t>)? Default for $name $(<$t>)? {
                fn default() -> Self {
                    Self { word: Default::default(), loads: Default::default() }
                }
            }

            impl $(<$t>)? Deref for $name $(<$t>)? {
                type Target = atomic::$name $(<$t>)?;
                fn deref(&self) -> &Self::Target {
                    &self.word
                }
            }

            impl $(<$t>)? DerefMut for $name $(<$t>)? {
                fn deref_mut(&mut self) -> &mut Self::Target {
                    &mut self.word
                }
            }
        )*};
    }

    atomics! {
        AtomicBool of bool;
        AtomicPtr<T> of *mut T;
        AtomicU8 of u8;
        AtomicU16 of u16;
        AtomicU32 of u32;
        AtomicU64 of u64;
    }

    pub(crate) const FIRST_PAGE_BITS: u32 = 1;
    pub(crate) const RUN_QUEUE_SLOTS: u32 = 4;

    /// loom's mutex behind parking_lot's face.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    pub(crate) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().expect("no model panics with a lock held")))
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok().map(|guard| MutexGuard(Some(guard)))
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            self.0.as_ref().expect("held")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("held")
        }
    }

    /// loom's condition variable behind parking_lot's face. Nobody times out before the model says that time passes.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar {
        bell: loom::sync::Condvar,
        /// Written and read with the waiters' lock held. It is std's, so that loom does not explore it.
        late: std::sync::atomic::AtomicBool,
    }

    pub(crate) struct WaitTimeout(bool);

    impl WaitTimeout {
        pub(crate) fn timed_out(&self) -> bool {
            self.0
        }
    }

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self { bell: loom::sync::Condvar::new(), late: std::sync::atomic::AtomicBool::new(false) }
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let held = guard.0.take().expect("held");
            guard.0 = Some(self.bell.wait(held).expect("no model panics with a lock held"));
        }

        pub(crate) fn wait_until<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            _deadline: std::time::Instant,
        ) -> WaitTimeout {
            if !self.is_late() {
                self.wait(guard);
            }
            WaitTimeout(self.is_late())
        }

        fn is_late(&self) -> bool {
            self.late.load(std::sync::atomic::Ordering::Relaxed)
        }

        /// From now on all deadlines of this bell have passed. The caller holds the waiters' lock, as does everybody who
        /// waits here before it returns, and who comes later.
        pub(crate) fn be_late(&self) {
            self.late.store(true, std::sync::atomic::Ordering::Relaxed);
            self.bell.notify_all();
        }

        pub(crate) fn notify_one(&self) {
            self.bell.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.bell.notify_all();
        }
    }

    pub(crate) fn nulls<T, const N: usize>() -> [AtomicPtr<T>; N] {
        std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut()))
    }

    /// # Safety
    /// As in the real build.
    pub(crate) unsafe fn alloc_entries<T: Default>(n: usize) -> *mut T {
        let page: Box<[T]> = (0..n).map(|_| T::default()).collect();
        Box::leak(page).as_mut_ptr()
    }

    macro_rules! const_outside_loom {
        ($(#[$meta:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$meta])* $vis fn $($rest)* };
    }

    macro_rules! process_static {
        ($(#[$meta:meta])* $vis:vis static $name:ident: $ty:ty = $init:expr;) => {
            // loom's macro takes no `vis` that was matched before, so everything is visible in the crate.
            loom::lazy_static! { $(#[$meta])* pub(crate) static ref $name: $ty = $init; }
        };
    }

    pub(crate) use {const_outside_loom, process_static};
}

/// What the library asks of the world beside: the time, and, of a simulated one, what goes wrong.
#[cfg(not(all(sim, test)))]
pub(crate) mod nature {
    use std::time::Instant;

    /// Nanoseconds of the monotonic clock.
    #[inline]
    pub(crate) fn now() -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the structure is writable; the monotonic clock always exists.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }

    /// The present, for condition variables.
    #[inline]
    pub(crate) fn instant() -> Instant {
        Instant::now()
    }

    pub(crate) use std::thread::sleep;

    /// What a system call fails with before it is made: nothing.
    #[inline(always)]
    pub(crate) fn fault(_errnos: &[i32]) -> Option<i32> {
        None
    }

    /// How many bytes a transfer may move that asks for so many: all of them.
    #[inline(always)]
    pub(crate) fn short(len: usize) -> usize {
        len
    }
}

pub(crate) use imp::*;
pub(crate) use std::sync::atomic::Ordering;
