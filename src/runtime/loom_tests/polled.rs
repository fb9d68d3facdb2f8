//! A model of what others see of a worker's polls.

use super::*;
use crate::primitives::sync::Arc;
use crate::runtime::polled::Polled;
use crate::task::TaskName;

/// A worker polls three tasks, of which the first and the last have the same cell, while another thread looks.
#[test]
fn loom_what_is_seen_of_a_poll_belongs_together() {
    const POLLS: [(usize, u32); 3] = [(0, 1), (1, 2), (0, 3)];
    loom::model(|| {
        let (polled, tasks) = (Arc::new(Polled::default()), Arc::new(Tasks::new(2)));
        let worker = {
            let (polled, tasks) = (polled.clone(), tasks.clone());
            thread::spawn(move || {
                for (cell, life) in POLLS {
                    polled.begin(TaskName::of_parts(tasks.cell(cell), life));
                    polled.end();
                }
            })
        };
        if let Some((cell, life)) = polled.now().map(TaskName::parts) {
            let is_it = |(at, its): (usize, u32)| ptr::eq(cell, tasks.cell(at)) && life == its;
            assert!(POLLS.into_iter().any(is_it), "a cell with the life of another");
        }
        worker.join().expect("no panic");
        assert!(polled.now().is_none(), "nothing is polled any more");
    });
}
