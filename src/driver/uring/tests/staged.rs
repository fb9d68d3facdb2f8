//! The queue in user space, against a plain list.

use super::super::fake::Random;
use super::*;

#[test]
fn it_is_a_queue_with_gaps() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let (mut staged, mut model, mut tickets) = (Staged::default(), VecDeque::new(), Vec::new());
        for number in 0..300 {
            match random.below(3) {
                0 => {
                    tickets.push(staged.push(nop(number)));
                    model.push_back(tickets.len() - 1);
                }
                1 if !tickets.is_empty() => {
                    let chosen = random.below(tickets.len() as u64) as usize;
                    let place = model.iter().position(|queued| *queued == chosen);
                    place.map(|place| model.remove(place));
                    assert_eq!(staged.revoke(tickets[chosen]), place.is_some(), "seed {seed}");
                }
                _ => {
                    let popped = staged.pop().is_some();
                    assert_eq!(popped, model.pop_front().is_some(), "seed {seed}");
                }
            }
            assert_eq!(staged.is_empty(), model.is_empty(), "seed {seed}");
        }
        assert!(staged.entries.len() < 300);
    }
}
