//! The driver's set: what of a descriptor the driver reports, and which worker's driver that is.

use super::io::{Errno, IoName, errno_of, traits};
use super::registration::identity;
use super::runtimes::RuntimeRef;
use super::shared::Shared;
use crate::primitives::sync::Ordering::*;
use crate::readiness::Interest;

impl IoName {
    /// Runs `change` while nobody else changes where and for what the descriptor is watched. `EBADF`: it is closed, or its
    /// number was found to be another's.
    fn changing(self, change: impl FnOnce(&Shared) -> Result<(), Errno>) -> Result<(), Errno> {
        let _in_use = self.enter()?;
        let runtime = RuntimeRef::enter(self.io.owner.load(Relaxed))?;
        let shared = runtime.shared();
        let numbers = shared.fds.numbers(self.fd()).lock();
        if numbers.is_held_by(self.fd(), self.raw()) { change(shared) } else { Err(libc::EBADF) }
    }

    /// Sees to it that the driver reports what is waited for.
    pub(crate) fn watch(self, interest: Interest) -> Result<(), Errno> {
        match (self.allows(interest), self.has(traits::WATCHED)) {
            (false, _) => Err(self.refusal()),
            (true, true) => Ok(()),
            (true, false) => self.watch_now(),
        }
    }

    /// Enters a late socket into its driver's set.
    pub(super) fn watch_now(self) -> Result<(), Errno> {
        if self.has(traits::WATCHED) {
            return Ok(());
        }
        self.changing(|shared| {
            if !self.has(traits::WATCHED) {
                self.add_to_set(shared, self.home())?;
                self.add_trait(traits::WATCHED);
            }
            Ok(())
        })
    }

    /// Sees to it that the driver reports what an operation waits for, registered or not.
    pub(super) fn watch_for_op(self, interest: Interest) -> Result<(), Errno> {
        self.watch_now()?;
        if self.allows(interest) || !self.has(traits::INTEREST) || self.is_wide() {
            return Ok(());
        }
        let Some(traffic) = self.traffic_if_any() else { return Ok(()) };
        self.changing(|shared| {
            let driver = &shared.remote(self.home()).driver;
            driver.rearm(self.fd(), self.raw(), self.interest_if(true)).map_err(errno_of)?;
            // Whoever sees this does not ask again.
            traffic.wide.store(true, Relaxed);
            Ok(())
        })
    }

    fn is_wide(self) -> bool {
        self.traffic_if_any().is_some_and(|traffic| traffic.wide.load(Relaxed))
    }

    pub(super) fn add_to_set(self, shared: &Shared, home: u32) -> Result<(), Errno> {
        let driver = &shared.remote(home).driver;
        let added = match self.has(traits::EXCLUSIVE) {
            true => driver.register_exclusive(self.fd(), self.raw()),
            false => driver.register(self.fd(), self.raw(), self.interest()),
        };
        added.map_err(errno_of)
    }

    /// What the driver watches for. Without an interest of the program's, what operations may wait for.
    pub(super) fn interest(self) -> Interest {
        self.interest_if(self.is_wide())
    }

    fn interest_if(self, wide: bool) -> Interest {
        let registered = Interest::from_bits((self.io.traits.load(Relaxed) & traits::INTEREST) as u8);
        let both = Interest::READABLE | Interest::WRITABLE;
        match registered {
            Some(registered) if wide => registered | both,
            registered => registered.unwrap_or(both),
        }
    }

    /// A listener is watched by several workers from now on, by a descriptor each. It leaves the set in which it was alone, and
    /// enters it as one of them: whoever waits for it hears of what is there once more. If it cannot enter, the next to wait tries again.
    pub(crate) fn watch_with_others(self) -> Result<(), Errno> {
        self.changing(|shared| {
            self.add_trait(traits::EXCLUSIVE);
            if !self.has(traits::WATCHED) {
                return Ok(());
            }
            shared.remote(self.home()).driver.deregister(self.fd()).map_err(errno_of)?;
            self.add_to_set(shared, self.home()).inspect_err(|_| {
                self.io.identity.store(identity(self.fd()), Relaxed);
                self.io.traits.fetch_and(!traits::WATCHED, AcqRel);
            })
        })
    }

    /// Moves the descriptor to another driver of its runtime. Its present state is reported there once more.
    pub(crate) fn rehome(self, runtime: u64, worker: u32) -> Result<(), Errno> {
        if self.owner()? != runtime {
            return Err(libc::EPERM);
        }
        self.changing(|shared| {
            let old = self.home();
            if self.has(traits::WATCHED) && old != worker {
                // In this order it is heard of in one of them, whatever fails.
                self.add_to_set(shared, worker)?;
                if let Err(error) = shared.remote(old).driver.deregister(self.fd()) {
                    // It was closed behind us, and a stranger's was added.
                    let _ = shared.remote(worker).driver.deregister(self.fd());
                    return Err(errno_of(error));
                }
            }
            self.io.home.store(worker as u16, Relaxed);
            Ok(())
        })
    }
}
