//! Making a runtime: its engine, and a driver for each worker.

use super::config::{Config, Engine, Flavour, allowed_cpus};
use super::runtimes::{Error, establish};
use crate::driver::{self, Driver};
use crate::primitives::fork::{is_forked, plant_cookie};

/// What the operator may say against the configuration.
const ENGINE_VARIABLE: &str = "ASYNCIO_ENGINE";

/// What was chosen, and the sentence that says why.
pub(super) struct Choice {
    pub(super) ring: bool,
    pub(super) why: String,
}

/// The engine, or why the one that was asked for cannot be had.
fn choose_engine(asked: Engine) -> Result<Choice, Error> {
    let forced = std::env::var_os(ENGINE_VARIABLE).is_some_and(|value| value == "epoll");
    let epoll = |why: String| Ok(Choice { ring: false, why });
    if asked == Engine::Epoll {
        return epoll("asked for".into());
    }
    if forced {
        return epoll(format!("{ENGINE_VARIABLE}=epoll"));
    }
    match (crate::driver::prove(), asked) {
        (Ok(()), Engine::Uring) => Ok(Choice { ring: true, why: "asked for".into() }),
        (Ok(()), _) => Ok(Choice { ring: true, why: "the kernel offers it".into() }),
        (Err(refused), Engine::Uring) => Err(Error::new(refused.errno, format!("no io_uring: {}", refused.why))),
        (Err(refused), _) => epoll(format!("no io_uring: {}", refused.why)),
    }
}

/// A driver for each worker. A ring that cannot be made, after one could, makes all of them do without, unless rings were
/// asked for.
fn make_drivers(config: &Config, workers: usize, choice: &mut Choice) -> Result<Vec<(Driver, driver::Handle)>, Error> {
    let mut rings = Vec::new();
    for _ in 0..if choice.ring { workers } else { 0 } {
        match crate::driver::make(config.ring_entries) {
            Ok(ring) => rings.push(ring),
            Err(refused) if config.engine == Engine::Uring => {
                return Err(Error::new(refused.errno, format!("no ring for a worker: {}", refused.why)));
            }
            Err(refused) => {
                *choice = Choice { ring: false, why: format!("no ring for a worker: {}", refused.why) };
                rings.clear();
                break;
            }
        }
    }
    let mut rings = rings.into_iter();
    let drivers = (0..workers).map(|_| Driver::new(config.max_events, rings.next())).collect::<Result<Vec<_>, _>>();
    drivers.map_err(|error| {
        Error::new(error.raw_os_error().unwrap_or(libc::EIO), format!("no epoll set for a worker: {error}"))
    })
}

/// What a thread's stack must have at least. The calls that take most of it (64 datagrams at once, connecting by name) take more than
/// half of this, and none of the program's own are among them.
const LEAST_STACK: usize = 64 << 10;

/// More than anybody has a use for. The current-thread flavour has threads as well, those of the pool.
const MOST_STACK: usize = 1 << 40;

/// Makes a runtime and returns its handle.
pub(crate) fn create(config: Config) -> Result<u64, Error> {
    if is_forked() {
        return Err(Error::new(libc::EPERM, "this process was forked from one that had used the library"));
    }
    let mut choice = choose_engine(config.engine)?;
    if config.stack_size < LEAST_STACK {
        return Err(Error::new(libc::EINVAL, "the stack of a thread is too small, at least 64 KiB are needed"));
    }
    if config.stack_size > MOST_STACK {
        return Err(Error::new(libc::EINVAL, "the stack of a thread is too large"));
    }
    plant_cookie().map_err(|error| Error::new(super::io::errno_of(error), "no page for the fork detector"))?;
    let workers = match (config.flavour, config.workers) {
        (Flavour::CurrentThread, _) => 1,
        (Flavour::MultiThread, 0) => allowed_cpus(),
        (Flavour::MultiThread, n) if n > u16::MAX as usize / 2 => {
            return Err(Error::new(libc::EINVAL, "too many workers"));
        }
        (Flavour::MultiThread, n) => n,
    };
    let drivers = make_drivers(&config, workers, &mut choice)?;
    establish(config, drivers, &choice)
}

/// Makes a current-thread runtime on this ring.
#[cfg(all(test, not(loom)))]
pub(super) fn create_on(ring: Box<dyn driver::Ring>, config: Config) -> Result<u64, Error> {
    let driver = Driver::new(config.max_events, Some(ring)).map_err(super::io::errno_of)?;
    establish(config, vec![driver], &Choice { ring: true, why: "a test's".into() })
}
