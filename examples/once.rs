//! Prints a process tree and the files of one process: a reading without tokio.

#![allow(clippy::print_stdout, reason = "the purpose of this program is to print")]

use appmon::{Cancel, ProcFs, ProcessTree, Processes, Snapshot, Source};

fn main() -> appmon::Result<()> {
    let mut snapshot = Snapshot::default();
    Processes::new().collect(&mut snapshot, &Cancel::new())?;
    let tree = ProcessTree::new(&snapshot);
    for root in tree.roots() {
        let total = tree.summary(root.id);
        println!(
            "{} {}: {} processes, {} threads, {} B",
            root.id.pid, root.info.name, total.processes, total.threads, total.rss_bytes
        );
    }

    let me = ProcFs::new("/proc")?.process(std::process::id())?;
    println!("{:?}\n{:?}\n{:?}", me.stat()?, me.io()?, me.status()?);
    Ok(())
}
