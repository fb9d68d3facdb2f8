//! Atomics, locks and bells at which the baton may be passed on.

use super::nature::time_of;
use super::world::{Woken, block, is_inside, point, roll, tell};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::time::Instant;

const NEVER: u64 = u64::MAX;

macro_rules! atomics {
    ($($name:ident $value:ty;)*) => {$(
        #[derive(Debug, Default)]
        #[repr(transparent)]
        pub(crate) struct $name(std::sync::atomic::$name);

        #[allow(dead_code, reason = "a face that they all have")]
        impl $name {
            pub(crate) const fn new(value: $value) -> Self {
                Self(std::sync::atomic::$name::new(value))
            }

            atomics!(@methods $value);

            pub(crate) fn fetch_add(&self, value: $value, _: Ordering) -> $value {
                point();
                self.0.fetch_add(value, Ordering::SeqCst)
            }

            pub(crate) fn fetch_sub(&self, value: $value, _: Ordering) -> $value {
                point();
                self.0.fetch_sub(value, Ordering::SeqCst)
            }

            pub(crate) fn fetch_update(
                &self,
                success: Ordering,
                failure: Ordering,
                mut change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut before = self.load(failure);
                while let Some(after) = change(before) {
                    match self.compare_exchange_weak(before, after, success, failure) {
                        Ok(before) => return Ok(before),
                        Err(now) => before = now,
                    }
                }
                Err(before)
            }

            pub(crate) fn fetch_max(&self, value: $value, _: Ordering) -> $value {
                point();
                self.0.fetch_max(value, Ordering::SeqCst)
            }

            pub(crate) fn fetch_min(&self, value: $value, _: Ordering) -> $value {
                point();
                self.0.fetch_min(value, Ordering::SeqCst)
            }

            atomics!(@bits $value);
        }
    )*};
    (@bits $value:ty) => {
        pub(crate) fn fetch_or(&self, value: $value, _: Ordering) -> $value {
            point();
            self.0.fetch_or(value, Ordering::SeqCst)
        }

        pub(crate) fn fetch_and(&self, value: $value, _: Ordering) -> $value {
            point();
            self.0.fetch_and(value, Ordering::SeqCst)
        }
    };
    (@methods $value:ty) => {
        pub(crate) fn load(&self, _: Ordering) -> $value {
            point();
            self.0.load(Ordering::SeqCst)
        }

        pub(crate) fn store(&self, value: $value, _: Ordering) {
            point();
            self.0.store(value, Ordering::SeqCst);
        }

        pub(crate) fn swap(&self, value: $value, _: Ordering) -> $value {
            point();
            self.0.swap(value, Ordering::SeqCst)
        }

        pub(crate) fn compare_exchange(
            &self,
            old: $value,
            new: $value,
            _: Ordering,
            _: Ordering,
        ) -> Result<$value, $value> {
            point();
            self.0.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
        }

        /// The weak one may fail for no reason.
        pub(crate) fn compare_exchange_weak(
            &self,
            old: $value,
            new: $value,
            success: Ordering,
            failure: Ordering,
        ) -> Result<$value, $value> {
            if is_inside() && roll(64) == 0 {
                return Err(self.load(failure));
            }
            self.compare_exchange(old, new, success, failure)
        }

        pub(crate) fn get_mut(&mut self) -> &mut $value {
            self.0.get_mut()
        }
    };
}

atomics! {
    AtomicU8 u8;
    AtomicU16 u16;
    AtomicU32 u32;
    AtomicU64 u64;
}

#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct AtomicBool(std::sync::atomic::AtomicBool);

#[allow(dead_code, reason = "a face that they all have")]
impl AtomicBool {
    pub(crate) const fn new(value: bool) -> Self {
        Self(std::sync::atomic::AtomicBool::new(value))
    }

    atomics!(@methods bool);
    atomics!(@bits bool);
}

#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct AtomicPtr<T>(std::sync::atomic::AtomicPtr<T>);

impl<T> Default for AtomicPtr<T> {
    fn default() -> Self {
        Self::new(std::ptr::null_mut())
    }
}

#[allow(dead_code, reason = "a face that they all have")]
impl<T> AtomicPtr<T> {
    pub(crate) const fn new(value: *mut T) -> Self {
        Self(std::sync::atomic::AtomicPtr::new(value))
    }

    atomics!(@methods *mut T);
}

/// parking_lot's mutex. In the world nobody waits in it: who finds it locked gives the baton away.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

pub(crate) struct MutexGuard<'a, T> {
    held: Option<parking_lot::MutexGuard<'a, T>>,
    mutex: &'a Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(parking_lot::const_mutex(value))
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(&self.0).addr()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        point();
        self.lock_now()
    }

    fn lock_now(&self) -> MutexGuard<'_, T> {
        while is_inside() {
            if let Some(held) = self.0.try_lock() {
                return MutexGuard { held: Some(held), mutex: self };
            }
            block(self.key(), NEVER, None);
        }
        MutexGuard { held: Some(self.0.lock()), mutex: self }
    }

    #[allow(dead_code, reason = "parking_lot's face")]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        point();
        self.0.try_lock().map(|held| MutexGuard { held: Some(held), mutex: self })
    }

    #[allow(dead_code, reason = "parking_lot's face")]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }

    #[allow(dead_code, reason = "parking_lot's face")]
    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T> MutexGuard<'_, T> {
    fn unlock(&mut self) {
        if self.held.take().is_some() {
            tell(self.mutex.key(), true);
        }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.unlock();
        point();
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.held.as_ref().expect("held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("held")
    }
}

/// parking_lot's condition variable, whose deadlines are of the world's clock.
#[derive(Debug, Default)]
pub(crate) struct Condvar(parking_lot::Condvar);

pub(crate) struct WaitTimeout(bool);

impl WaitTimeout {
    pub(crate) fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(parking_lot::Condvar::new())
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(&self.0).addr()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        if is_inside() {
            self.sleep(guard, NEVER);
        } else {
            self.0.wait(guard.held.as_mut().expect("held"));
        }
    }

    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: Instant) -> WaitTimeout {
        match is_inside() {
            true => WaitTimeout(self.sleep(guard, time_of(deadline)) == Woken::Late),
            false => WaitTimeout(self.0.wait_until(guard.held.as_mut().expect("held"), deadline).timed_out()),
        }
    }

    /// Between the unlock and the sleep the baton stays here.
    fn sleep<T>(&self, guard: &mut MutexGuard<'_, T>, until: u64) -> Woken {
        guard.unlock();
        let woken = block(self.key(), until, None);
        guard.held = guard.mutex.lock_now().held.take();
        woken
    }

    pub(crate) fn notify_one(&self) {
        point();
        tell(self.key(), false);
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        point();
        tell(self.key(), true);
        self.0.notify_all();
    }
}
