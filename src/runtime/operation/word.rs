//! The word that says whether an operation's entry is alive, and what its owner was told from elsewhere.
//!
//! | generation 32 | unused 25 | flags 7 |
//!
//! LIVE is the handle's. MAILED says that the entry is, or will be, in its owner's mailbox, or in the list of a thread that
//! is the owner: it is there at most once, and is not given back before it was taken out. The other flags are the message.
//! Telling, taking the message and ending are each one read-modify-write of this word, so nothing told is lost, and no
//! entry begins its next life while a mailbox still points to it.

use crate::primitives::pack::Field;
use crate::primitives::sync::{AtomicU64, Ordering::*};

const FLAGS: Field = Field::low(32);
const GENERATION: Field = FLAGS.above(32);

const LIVE: u64 = 1;
const MAILED: u64 = 1 << 1;
/// The task let go of the operation, and its handle with it.
const FORGOTTEN: u64 = 1 << 5;

/// What an owner can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News(u64);

impl News {
    /// Try again: a descriptor is ready, or it is time.
    pub(super) const TRY: Self = Self(1 << 2);
    /// End it.
    pub(super) const CANCEL: Self = Self(1 << 3);
    /// Another thread, or the stream, had it in hand, and has done it: the result is in the entry.
    pub(super) const DONE: Self = Self(1 << 4);
    /// What goes on without it has come back, and has the result. The owner may have ended it before.
    pub(super) const BACK: Self = Self(1 << 6);

    const ALL: u64 = Self::TRY.0 | Self::CANCEL.0 | Self::DONE.0 | Self::BACK.0;

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// See the module.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(super) struct Word(AtomicU64);

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Told {
    /// The entry lives another life, or none.
    Stale,
    /// It is on its way to the owner already, who will see this message too.
    Queued,
    /// The entry is to be put into the mailbox.
    Post,
}

/// What the owner found in its mailbox.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Mail {
    News(News),
    /// The operation ended meanwhile: the entry is to be given back.
    Over,
}

/// What whoever ended a life must do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Over {
    Free,
    /// The mailbox still points to the entry: whoever takes it out gives it back.
    Later,
}

impl Word {
    /// Begins the next life of a free entry, and says which it is. Everything that others may read was written before.
    pub(super) fn open(&self) -> u32 {
        self.begin(LIVE)
    }

    /// The same for an operation whose owner is yet to hear of it: it is marked as mailed, so that its maker, and nobody else,
    /// puts it into the mailbox, or ends it where there is none.
    pub(super) fn open_mailed(&self, news: News) -> u32 {
        self.begin(LIVE | MAILED | news.0)
    }

    fn begin(&self, flags: u64) -> u32 {
        let generation = self.generation().wrapping_add(1);
        self.0.store(GENERATION.set(flags, generation.into()), Release);
        generation
    }

    pub(super) fn generation(&self) -> u32 {
        GENERATION.get(self.0.load(Relaxed)) as u32
    }

    /// True if the handle is good.
    pub(super) fn is_live(&self, generation: u32) -> bool {
        let word = self.0.load(Acquire);
        GENERATION.get(word) == generation.into() && word & (LIVE | FORGOTTEN) == LIVE
    }

    /// For the owner: true while this life lasts, whatever became of the handle.
    pub(super) fn lives(&self, generation: u32) -> bool {
        let word = self.0.load(Relaxed);
        GENERATION.get(word) == generation.into() && word & LIVE != 0
    }

    /// The life that the entry lives. What was written before it began is seen by whoever sees it.
    pub(super) fn life(&self) -> Option<u32> {
        let word = self.0.load(Acquire);
        (word & LIVE != 0).then(|| GENERATION.get(word) as u32)
    }

    fn edge<R>(&self, mut next: impl FnMut(u64) -> Result<(u64, R), R>) -> R {
        let mut word = self.0.load(Acquire);
        loop {
            let (after, result) = match next(word) {
                Ok(step) => step,
                Err(result) => return result,
            };
            match self.0.compare_exchange_weak(word, after, AcqRel, Acquire) {
                Ok(_) => return result,
                Err(now) => word = now,
            }
        }
    }

    /// Tells the owner something. `None`: whatever life the entry lives, for wakers, which may come late.
    pub(super) fn tell(&self, generation: Option<u32>, news: News) -> Told {
        self.tell_if(|word| generation.is_none_or(|generation| is_named(word, generation)), news)
    }

    /// The same, for whoever does its work: a handle that the task let go of makes no difference.
    pub(super) fn tell_life(&self, generation: u32, news: News) -> Told {
        self.tell_if(|word| GENERATION.get(word) == generation.into(), news)
    }

    fn tell_if(&self, is_meant: impl Fn(u64) -> bool, news: News) -> Told {
        self.edge(|word| match word {
            _ if word & LIVE == 0 || !is_meant(word) => Err(Told::Stale),
            _ if word & MAILED != 0 => Ok((word | news.0, Told::Queued)),
            _ => Ok((word | news.0 | MAILED, Told::Post)),
        })
    }

    /// The owner took the entry out of its mailbox.
    pub(super) fn open_mail(&self) -> Mail {
        self.edge(|word| match word & LIVE {
            0 => Ok((word & !(MAILED | News::ALL), Mail::Over)),
            _ => Ok((word & !(MAILED | News::ALL), Mail::News(News(word & News::ALL)))),
        })
    }

    /// Makes the handle stale for everybody but the owner; the life goes on.
    pub(super) fn forget(&self) {
        self.edge(|word| Ok((word | FORGOTTEN, ())));
    }

    /// Ends the life: the handle is stale.
    pub(super) fn close(&self) -> Over {
        self.edge(|word| match word & MAILED {
            0 => Ok((word & !(LIVE | News::ALL), Over::Free)),
            _ => Ok((word & !LIVE, Over::Later)),
        })
    }

    /// True if the entry may live again.
    pub(super) fn is_reusable(&self) -> bool {
        self.generation() < u32::MAX
    }

    /// For tests that begin near the end of an entry's lives.
    #[cfg(all(test, not(loom)))]
    pub(super) fn age_to(&self, generation: u32) {
        self.0.store(GENERATION.set(0, generation.into()), Release);
    }
}

fn is_named(word: u64, generation: u32) -> bool {
    GENERATION.get(word) == generation.into() && word & FORGOTTEN == 0
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_mailed_once_and_keeps_all_news() {
        let word = Word::default();
        assert_eq!(word.tell(None, News::TRY), Told::Stale, "a free entry");
        let generation = word.open();
        assert_eq!(word.tell(Some(generation + 1), News::CANCEL), Told::Stale);
        assert_eq!(word.tell(Some(generation), News::CANCEL), Told::Post);
        assert_eq!(word.tell(None, News::TRY), Told::Queued);
        let Mail::News(news) = word.open_mail() else { panic!("it lives") };
        assert!(news.has(News::TRY) && news.has(News::CANCEL) && !news.has(News::DONE));
        assert_eq!(word.open_mail(), Mail::News(News::default()));
    }

    #[test]
    fn an_entry_that_is_in_a_mailbox_is_not_given_back_before() {
        let word = Word::default();
        let generation = word.open();
        assert_eq!(word.tell(Some(generation), News::TRY), Told::Post);
        assert_eq!(word.close(), Over::Later);
        assert!(!word.is_live(generation));
        assert_eq!(word.tell(None, News::TRY), Told::Stale);
        assert_eq!(word.open_mail(), Mail::Over);
        assert_eq!(word.open(), generation + 1);
        assert_eq!(word.open_mail(), Mail::News(News::default()), "no news of the life before");
        assert_eq!(word.close(), Over::Free);
    }

    #[test]
    fn what_its_maker_is_to_mail_is_mailed_by_nobody_else() {
        let word = Word::default();
        let generation = word.open_mailed(News::TRY);
        assert_eq!(word.tell(Some(generation), News::CANCEL), Told::Queued);
        assert_eq!(word.close(), Over::Later);
        assert_eq!(word.life(), None);
        assert_eq!(word.open_mail(), Mail::Over);
        assert_eq!(word.open_mailed(News::TRY), generation + 1);
        assert_eq!(word.life(), Some(generation + 1));
        assert_eq!(word.open_mail(), Mail::News(News::TRY), "no news of the life before");
    }

    #[test]
    fn the_last_generation_retires_the_entry() {
        let word = Word::default();
        word.age_to(u32::MAX - 1);
        word.open();
        assert_eq!(word.close(), Over::Free);
        assert!(!word.is_reusable());
    }
}
