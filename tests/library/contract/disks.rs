// File systems with registered directories, TTL-cached; the registry is usable while the stream runs.
use std::time::Duration;

use appmon::{Directory, FileSystem, FileSystems, SnapshotStreamExt, SourceExt};
use futures::TryStreamExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> appmon::Result<()> {
    let disks = FileSystems::new()
        .register(FileSystem::new("main", "/"))
        .directory(Directory::new("logs", "/var/log").ttl(Duration::from_secs(60)))
        .directory(Directory::new("usr", "/usr").ttl(Duration::from_secs(30)).watched());
    let registry = disks.registry(); // Clone + Send + Sync
    let _tmp = registry.add_directory(Directory::new("tmp", "/tmp"))?; // dropped: unregistered again
    registry.invalidate("logs");

    let mut ticks = disks.every(Duration::from_secs(1)).rates();
    while let Some(tick) = ticks.try_next().await? {
        for fs in &tick {
            println!(
                "{} ({}) {} B, growing {:?} B/s",
                fs.name,
                fs.mount_point.display(),
                fs.total_bytes,
                fs.rates.as_ref().map(|r| r.used_bytes)
            );
            for part in &fs.parts {
                // kind: Directory | Other | Free | Reserved; the parts sum to fs.total_bytes
                println!(
                    "  {:<10} {:?} {:>16} B {:5.1} %  as of {:?}",
                    part.name,
                    part.kind,
                    part.bytes,
                    part.fraction * 100.0,
                    part.age
                );
            }
        }
    }
    Ok(())
}
