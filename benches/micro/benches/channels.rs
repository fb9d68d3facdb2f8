//! Channels: one task sends, another receives.

use crate::peers::{Group, Tokio, timed};
use asyncio_bench::*;
use criterion::Criterion;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

const CAPACITY: usize = 128;

pub fn all(c: &mut Criterion) {
    let both = Runtime::new(Flavour::TwoWorkers);
    // Nobody steals from one worker.
    let [here, there] = [(); 2].map(|()| Tokio::new(Flavour::OneWorker));
    Group::new(c, "an item through a channel")
        .ours(items)
        .tokio(|tokio, rounds| tokio.run(peers_items(rounds, tokio.0.handle().clone())))
        .add("asyncio", Flavour::TwoWorkers.name(), |rounds| items(&both, rounds))
        .add("tokio", Flavour::TwoWorkers.name(), |rounds| here.run(peers_items(rounds, there.0.handle().clone())));
}

fn items(runtime: &Runtime, rounds: u64) -> Duration {
    let chan = new_chan(CAPACITY);
    let mut received = 0;
    let receiver = runtime.spawn(move |cx| {
        while received < rounds {
            ready!(cx.recv(chan));
            received += 1;
        }
        Poll::Ready(())
    });
    let mut sent = 0;
    let took = runtime.time(|cx, clock| {
        clock.start();
        while sent < rounds {
            ready!(cx.send(chan, sent as usize));
            sent += 1;
        }
        cx.join(receiver)
    });
    free_chan(chan);
    took
}

async fn peers_items(rounds: u64, there: Handle) -> Duration {
    let (sender, mut receiver) = mpsc::channel(CAPACITY);
    let receiver = there.spawn(async move {
        for _ in 0..rounds {
            receiver.recv().await.expect("an item");
        }
    });
    timed(async {
        for item in 0..rounds {
            sender.send(item as usize).await.expect("a receiver");
        }
        receiver.await.expect("no panic");
    })
    .await
}
