//! An API server that exports its own figures and those of its workers.

use std::time::Duration;

use appmon::{OwnProcess, Processes, Result, Select, SnapshotStreamExt, SourceExt};
use futures::StreamExt;
use prometheus_client::registry::Registry;

#[tokio::main]
async fn main() -> Result<()> {
    // appmon: begin
    let every = Duration::from_secs(1);
    let own = OwnProcess::new().runtime(tokio::runtime::Handle::current()).every(every).rates().observe();
    // The workers are its children, and theirs; not itself.
    let tree = Select::pid(std::process::id()).with_descendants() & !Select::pid(std::process::id());
    let workers = Processes::new().select(tree).every(every).rates().observe();
    // appmon: end

    // glue: begin
    let mut registry = Registry::default();
    registry.register_collector(Box::new(own.latest()));
    registry.sub_registry_with_prefix("worker").register_collector(Box::new(workers.latest()));
    let ready = (own.latest(), workers.latest());
    tokio::spawn(own.for_each(|_| async {}));
    tokio::spawn(workers.for_each(|_| async {}));
    let mut worker = std::process::Command::new("sleep").arg("60").spawn()?;
    futures::join!(ready.0.ready(), ready.1.ready());
    // The handler of `/metrics` in the server's own framework.
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).expect("writing to a string");
    worker.kill()?;
    worker.wait()?;
    std::io::Write::write_all(&mut std::io::stdout(), page.as_bytes())?;
    // glue: end
    Ok(())
}
