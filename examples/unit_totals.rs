//! An agent that sends what each systemd unit used to NATS, where that changed.

use std::time::Duration;

use appmon::broker::nats::JetStream;
use appmon::forward::Forwarder;
use appmon::stream::by;
use appmon::{ForwardExt, Processes, Result, SnapshotStreamExt, SourceExt};
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // glue: begin
    let url = std::env::args().nth(1).unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned());
    let stop = CancellationToken::new();
    tokio::spawn({
        let stop = stop.clone();
        async move { tokio::signal::ctrl_c().await.map(|()| stop.cancel()) }
    });
    // glue: end

    // appmon: begin
    let queue = JetStream::new(url)?;
    let report = Processes::new()
        .lives(true)
        .every(Duration::from_secs(1))
        .group_by(by::unit)
        .by("unit")
        // Everything again every ten minutes, and right after anything was dropped.
        .forward_to(Forwarder::new(queue).only_changed(Duration::from_secs(600)).shutdown(stop))
        .await?;
    // appmon: end

    // glue: begin
    eprintln!("{report:?}");
    Ok(())
    // glue: end
}
