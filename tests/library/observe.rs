//! The newest snapshot of a stream, on a paused clock.

use std::time::Duration;

use appmon::stream::Latest;
use appmon::{Result, Snapshot, SnapshotStreamExt};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::advance;

/// A stream that is fed by hand, its handle, and the task that polls it.
fn fed() -> (mpsc::UnboundedSender<Result<Snapshot<u32>>>, Latest<u32>, tokio::task::JoinHandle<()>) {
    let (feed, mut fed) = mpsc::unbounded_channel();
    let stream = futures::stream::poll_fn(move |cx| fed.poll_recv(cx)).observe();
    let latest = stream.latest();
    (feed, latest, tokio::spawn(stream.for_each(|_| async {})))
}

async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

fn value(latest: &Latest<u32>) -> Option<u32> {
    latest.get().map(|snapshot| snapshot.samples[0])
}

#[tokio::test(start_paused = true)]
async fn it_keeps_the_newest() {
    let (feed, latest, _task) = fed();
    assert_eq!((value(&latest), latest.age()), (None, None));
    feed.send(Ok([1].into_iter().collect())).unwrap();
    assert_eq!(latest.ready().await.unwrap().samples, [1]);
    let held = latest.get().unwrap();
    feed.send(Err(appmon::Error::malformed("this tick"))).unwrap();
    feed.send(Ok([2].into_iter().collect())).unwrap();
    settle().await;
    assert_eq!((held.samples[0], value(&latest)), (1, Some(2)), "one that is held stays as it is");
}

#[tokio::test(start_paused = true)]
async fn it_is_empty_when_the_stream_has_stopped() {
    let (feed, latest, task) = fed();
    feed.send(Ok([1].into_iter().collect())).unwrap();
    settle().await;
    advance(Duration::from_secs(3600)).await;
    assert_eq!(value(&latest), Some(1), "no period is known yet");
    feed.send(Ok([2].into_iter().collect())).unwrap();
    settle().await;
    advance(Duration::from_secs(1)).await;
    feed.send(Ok([3].into_iter().collect())).unwrap();
    settle().await;
    advance(Duration::from_secs(3)).await;
    assert_eq!(value(&latest), Some(3));
    advance(Duration::from_millis(1)).await;
    assert_eq!((value(&latest), latest.age()), (None, Some(Duration::from_millis(3001))));
    assert_eq!(value(&latest.clone().keep_for(Duration::from_secs(60))), Some(3));
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_is_not_waited_for() {
    let (feed, latest, _task) = fed();
    let waits = tokio::spawn({
        let latest = latest.clone();
        async move { latest.ready().await.is_none() }
    });
    drop(feed);
    assert!(waits.await.unwrap());
    // One that ended after its first snapshot has no period; its snapshot is not new any more.
    let (feed, latest, task) = fed();
    feed.send(Ok([1].into_iter().collect())).unwrap();
    drop(feed);
    task.await.unwrap();
    assert_eq!(value(&latest), None);
    assert_eq!(latest.ready().await.unwrap().samples, [1]);
}
