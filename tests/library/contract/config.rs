// A pipeline from a file: the library brings serde forms of all settings, the program the file format.
use appmon::config::{Duration, FileSystemsConfig, ForwardConfig, ProcessesConfig};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Agent {
    every: Duration,
    processes: ProcessesConfig,
    file_systems: FileSystemsConfig,
    forward: ForwardConfig,
}

const FILE: &str = r#"
every = "10s"
[processes]
select = "cgroup=/**/*.service & !kernel_thread"
fields = ["io", "user", "cgroup"]
max_age = "1m"
[file_systems]
mounted = true
directories = [{ name = "logs", path = "/var/log", ttl = "1m" }, { name = "jobs", path = "/var/lib/jobs", watched = true }]
[forward]
url = "nats://127.0.0.1:4222" # passwords come from files or the environment; one in the URL is refused
overflow = "drop_oldest"
only_changed = "10m"
spool = { path = "spool.redb", max = "64 MiB" }
"#;

pub(crate) fn main() -> appmon::Result<()> {
    let agent: Agent = toml::from_str(FILE).expect("an error names the key and the place");
    let _source = agent.processes.build()?;
    let _disks = agent.file_systems.build()?;
    let _forwarder = agent.forward.build()?; // Forwarder<BoxPublish>
    println!("{:?}", agent.every);
    Ok(())
}
