//! A batch platform that alerts: jobs that use more than their share, directories that fill, jobs that end.

use std::time::Duration;

use appmon::events::{ProcessEventKind, ProcessEvents};
use appmon::{Directory, FileSystems, Processes, Result, Select, SnapshotStreamExt, SourceExt};
use futures::{TryStreamExt, stream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // appmon: begin
    let every = Duration::from_secs(1);
    let jobs: Select = "uid=1000 | name=sleep".parse()?;
    let busy = "cpu.cores > 0.8 for 30s, until cpu.cores < 0.5 for 10s".parse()?;
    let growing = "rates.bytes > 1 MiB for 1m".parse()?;
    let spool = Directory::new("jobs", std::env::temp_dir()).watched();
    let busy = Processes::new().select(jobs.clone()).every(every).rates().alert(busy);
    let growing = FileSystems::mounted().directory(spool).every(every).rates().parts().alert(growing);
    let ends = ProcessEvents::new()
        .select(jobs)
        .every(every)
        .retain(|event| matches!(event.kind, ProcessEventKind::Exited { .. }));
    // appmon: end

    // glue: begin
    let alerts = stream::select(busy, growing).samples().map_ok(|edge| edge.to_string());
    let ends = ends.samples().map_ok(|event| event.to_string());
    let mut lines = std::pin::pin!(stream::select(alerts, ends));
    while let Some(line) = lines.try_next().await? {
        eprintln!("{line}");
    }
    // glue: end
    Ok(())
}
