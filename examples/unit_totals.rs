//! An agent that sends what each systemd unit used to NATS, where that changed.

use std::time::Duration;

use appmon::broker::nats::JetStream;
use appmon::forward::Forwarder;
use appmon::stream::by;
use appmon::{ForwardExt, Processes, Result, SnapshotStreamExt, SourceExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned());

    // appmon: begin
    // Everything again every ten minutes, and right after anything was dropped.
    let queue = Forwarder::new(JetStream::new(url)?).only_changed(Duration::from_secs(600));
    let report = Processes::new()
        .lives(true)
        .every(Duration::from_secs(1))
        .group_by(by::unit)
        .by("unit")
        .forward_to(queue.shutdown_when(tokio::signal::ctrl_c()))
        .await?;
    // appmon: end

    // glue: begin
    eprintln!("{report:?}");
    // glue: end
    Ok(())
}
