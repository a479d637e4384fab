// Several streams of several kinds through one forwarder, one connection, one spool.
use std::time::Duration;

use appmon::broker::nats::JetStream;
use appmon::{Directory, FileSystems, Forwarder, Processes, SnapshotStreamExt, SourceExt, process::Service};

#[tokio::main]
async fn main() -> appmon::Result<()> {
    let units = Processes::new().lives(true).every(Duration::from_secs(10)).group_by(Service::of).rates();
    let users =
        Processes::new().lives(true).every(Duration::from_secs(60)).group_by(|process| process.info.uid).rates();
    let disks =
        FileSystems::mounted().directory(Directory::new("logs", "/var/log")).every(Duration::from_secs(10)).rates();
    let report = Forwarder::new(JetStream::new("nats://127.0.0.1:4222")?)
        .spool("spool.redb", 64 << 20)
        .feed("units", units) // the name is in the messages: state at the other end is kept for each
        .feed("users", users)
        .feed("disks", disks)
        .run()
        .await?;
    println!("{report:?}");
    Ok(())
}
