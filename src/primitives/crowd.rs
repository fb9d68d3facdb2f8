//! Who waits for one thing, told apart by key.
//!
//! That is one or two as a rule, in a short list which is looked through. But all connections of a server may wait for the same event,
//! and each of them looks for itself under one lock, at every poll: so many have a table.

use super::scatter::Scattered;
use std::collections::HashMap;
use std::hash::Hash;
use std::mem::{replace, take};

/// How many a list has at most.
const FEW: usize = 16;

/// See the module. Nothing is dropped here: whatever goes is handed back, for the caller to drop after its lock.
#[derive(Debug)]
pub(crate) enum Crowd<K, V> {
    Few(Vec<(K, V)>),
    #[expect(clippy::box_collection, reason = "no larger than the list")]
    Many(Box<HashMap<K, V, Scattered>>),
}

/// What made room for somebody who came.
#[derive(Debug)]
pub(crate) struct Gone<V> {
    /// Who came was there already, with this.
    pub(crate) before: Option<V>,
    pub(crate) dead: Vec<V>,
}

impl<V> Gone<V> {
    /// The one who came before takes the place of what was there.
    pub(crate) fn before(before: Option<V>) -> Self {
        Self { before, dead: Vec::new() }
    }
}

impl<V> IntoIterator for Gone<V> {
    type Item = V;
    type IntoIter = std::iter::Chain<std::option::IntoIter<V>, std::vec::IntoIter<V>>;

    fn into_iter(self) -> Self::IntoIter {
        self.before.into_iter().chain(self.dead)
    }
}

impl<K, V> Default for Crowd<K, V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<K: Eq + Hash, V> Crowd<K, V> {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Few(list) => list.is_empty(),
            Self::Many(table) => table.is_empty(),
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        match self {
            Self::Few(list) => list.iter().find(|(other, _)| other == key).map(|(_, value)| value),
            Self::Many(table) => table.get(key),
        }
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match self {
            Self::Few(list) => list.iter_mut().find(|(other, _)| other == key).map(|(_, value)| value),
            Self::Many(table) => table.get_mut(key),
        }
    }

    /// Adds somebody, or replaces what is known of it. Where there is no room for one more the dead go first; if that does not
    /// make much room, more is made, so that the next look is far.
    pub(crate) fn put(&mut self, key: K, value: V, is_dead: impl Fn(&V) -> bool) -> Gone<V> {
        if let Some(old) = self.get_mut(&key) {
            return Gone::before(Some(replace(old, value)));
        }
        let dead = match self {
            Self::Few(list) if list.len() == list.capacity() => {
                list.extract_if(.., |(_, value)| is_dead(value)).map(|(_, value)| value).collect()
            }
            Self::Many(table) if table.len() == table.capacity() => {
                let dead = table.extract_if(|_, value| is_dead(value)).map(|(_, value)| value).collect();
                table.reserve(table.len() + 1);
                dead
            }
            _ => Vec::new(),
        };
        self.insert(key, value);
        Gone { before: None, dead }
    }

    /// Adds somebody who is not there.
    fn insert(&mut self, key: K, value: V) {
        match self {
            Self::Few(list) if list.len() < FEW => list.push((key, value)),
            Self::Few(list) => {
                let mut table: Box<HashMap<_, _, _>> = Box::new(take(list).into_iter().collect());
                table.insert(key, value);
                *self = Self::Many(table);
            }
            Self::Many(table) => drop(table.insert(key, value)),
        }
    }

    pub(crate) fn take(&mut self, key: &K) -> Option<V> {
        match self {
            Self::Few(list) => {
                let at = list.iter().position(|(other, _)| other == key)?;
                Some(list.swap_remove(at).1)
            }
            Self::Many(table) => {
                let taken = table.remove(key);
                self.close_up();
                taken
            }
        }
    }

    /// Takes out all of whom this is true.
    pub(crate) fn take_if(&mut self, mut is_meant: impl FnMut(&K, &V) -> bool, mut taken: impl FnMut(V)) {
        match self {
            Self::Few(list) => {
                list.extract_if(.., |(key, value)| is_meant(key, value)).for_each(|(_, value)| taken(value));
            }
            Self::Many(table) => {
                table.extract_if(|key, value| is_meant(key, value)).for_each(|(_, value)| taken(value));
                self.close_up();
            }
        }
    }

    /// A table that nobody is in is not kept.
    fn close_up(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = V> {
        let (few, many) = match self {
            Self::Few(list) => (list, None),
            Self::Many(table) => (Vec::new(), Some(table)),
        };
        few.into_iter().map(|(_, value)| value).chain(many.into_iter().flat_map(|table| table.into_values()))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::HashSet;
    use std::hash::Hasher;
    use std::task::Waker;

    /// What stands where a list stood takes no more room.
    const _: () = assert!(size_of::<Crowd<usize, Waker>>() == size_of::<Vec<()>>());

    thread_local! {
        static COMPARED: Cell<usize> = const { Cell::new(0) };
    }

    /// A key that counts how often it was looked at.
    #[derive(Clone, Copy, Debug)]
    struct Counted(usize);

    impl PartialEq for Counted {
        fn eq(&self, other: &Self) -> bool {
            COMPARED.set(COMPARED.get() + 1);
            self.0 == other.0
        }
    }

    impl Eq for Counted {}

    impl Hash for Counted {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }

    fn alive<V>(_: &V) -> bool {
        false
    }

    /// Keys as they are: the addresses of cells.
    fn key(n: usize) -> Counted {
        Counted(0x7f00_0000_0000 + n * 128)
    }

    #[test]
    fn nobody_looks_through_thousands() {
        let mut crowd = Crowd::default();
        const MANY: usize = 3_000;
        COMPARED.set(0);
        for n in 0..MANY {
            assert!(crowd.put(key(n), n, alive).before.is_none());
        }
        for n in 0..MANY {
            assert_eq!(crowd.get(&key(n)), Some(&n));
            assert_eq!(crowd.put(key(n), n + 1, alive).before, Some(n));
        }
        for n in (0..MANY).map(|n| n * 7 % MANY) {
            assert_eq!(crowd.take(&key(n)), Some(n + 1));
            assert_eq!(crowd.take(&key(n)), None);
        }
        assert!(crowd.is_empty());
        // Six looks for each, of which some meet another key with the same few bits.
        let compared = COMPARED.get();
        assert!(compared < 10 * MANY, "{compared} keys were compared");
    }

    #[test]
    fn few_are_in_a_list_and_many_in_a_table_until_all_left() {
        let mut crowd = Crowd::default();
        for n in 0..FEW {
            crowd.put(key(n), n, alive);
            assert!(matches!(crowd, Crowd::Few(_)));
        }
        crowd.put(key(FEW), FEW, alive);
        assert!(matches!(crowd, Crowd::Many(_)));
        let mut odd = HashSet::new();
        crowd.take_if(|_, n| n % 2 == 1, |n| assert!(odd.insert(n), "twice"));
        assert_eq!(odd, (0..=FEW).filter(|n| n % 2 == 1).collect());
        let mut even = HashSet::new();
        crowd.take_if(|key, _| key.0 % 128 == 0, |n| assert!(even.insert(n), "twice"));
        assert_eq!(even, (0..=FEW).filter(|n| n % 2 == 0).collect());
        assert!(matches!(&crowd, Crowd::Few(list) if list.capacity() == 0));
    }

    #[test]
    fn whoever_comes_pushes_out_the_dead_and_none_of_the_living() {
        for living in [1, 3, 10, 100, 1000] {
            let mut crowd = Crowd::default();
            let dead = |n: &usize| *n >= living;
            let mut gone = 0;
            for n in 0..100 * living {
                gone += crowd.put(key(n), n, dead).dead.len();
            }
            let mut left: Vec<_> = crowd.into_values().collect();
            assert_eq!(left.len() + gone, 100 * living, "each is there or was handed back");
            assert!(left.len() <= 8 + 8 * living, "{} are kept for {living}", left.len());
            left.sort_unstable();
            assert!(left.iter().take(living).copied().eq(0..living));
        }
    }
}
