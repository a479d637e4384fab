//! A batch platform that alerts: jobs that use more than their share, directories that fill, jobs that fail.

use std::time::Duration;

use appmon::events::{ProcessEventKind, ProcessEvents};
use appmon::{Directory, FileSystems, Processes, Result, Select, SnapshotStreamExt, SourceExt};
use futures::{StreamExt, TryStreamExt, stream};

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
    let ends = ProcessEvents::new().select(jobs).every(every);
    // appmon: end

    // glue: begin
    let edge = |edge: appmon::stream::AlertEdge| format!("{:?}: {} ({})", edge.state, edge.rule, edge.subject);
    let alerts = stream::select(busy, growing).map_ok(move |tick| tick.into_iter().map(edge).collect::<Vec<_>>());
    let ends = ends.map_ok(|tick| {
        tick.into_iter()
            .filter_map(|event| match event.kind {
                ProcessEventKind::Exited { status, .. } => Some(format!("{} ended: {status:?}", event.id.pid)),
                _ => None,
            })
            .collect()
    });
    let mut lines = stream::select(alerts.boxed(), ends.boxed());
    while let Some(tick) = lines.try_next().await? {
        tick.into_iter().for_each(|line: String| eprintln!("{line}"));
    }
    Ok(())
    // glue: end
}
