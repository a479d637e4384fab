//! What an agent costs as it is used: one tick a second over 2,000 processes of which 20 run, by the CPU time of its whole process.
//!
//! Usage: cargo bench -p appmon-benches --bench agents [-- SECONDS [AGENT…]]    [default: 20 seconds, all that are installed]
//!
//! The peers come from crates and from Debian's packages (`benches/peers` installs them). Each runs by itself, after a second to
//! start in, on the same processes; a tick finds the caches as a pause of a second leaves them.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use appmon::process::Service;
use appmon::{Processes, Result, Snapshot, SnapshotStreamExt, SourceExt};
use common::Fleet;
use futures::{Stream, TryStreamExt};

const IDLE: usize = 2_000;
const RUNNING: usize = 20;
const TICK: Duration = Duration::from_secs(1);

/// What is compared, in the order of the table; the first is what the others are measured by.
const AGENTS: [(&str, &str); 7] = [
    ("appmon", "appmon, with rates, through the stream"),
    ("services", "appmon, by service, with lives and rates"),
    ("clocks", "2,000 CPU clocks and nothing else"),
    ("sysinfo", "sysinfo, its default refresh of processes"),
    ("psutil", "psutil: CPU times, memory, I/O of each"),
    ("process-exporter", "process-exporter, scraped each second"),
    ("netdata", "netdata's apps.plugin"),
];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let first = arguments.next();
    if first.as_deref() == Some("be") {
        return be(&arguments.next().expect("an agent"), &arguments.next().unwrap_or_default());
    }
    let seconds = first.map_or(20, |seconds| seconds.parse().expect("a number of seconds"));
    let wanted: Vec<String> = arguments.collect();
    let mut fleet = Fleet::start(IDLE);
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{IDLE} processes, {RUNNING} of them run each second, {seconds} s for each agent:\n");
    let mut of_appmon = None;
    for (name, what) in AGENTS {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        let Some(agent) = Agent::start(name, &fleet) else {
            let _ = writeln!(out, "  {what:<44} not installed (benches/peers)");
            continue;
        };
        let share = agent.measure(&mut fleet, seconds) * 100.0;
        let first = *of_appmon.get_or_insert(share);
        let _ = writeln!(out, "  {what:<44} {share:>7.3} % of a core {:>7.1} ×", share / first);
    }
}

struct Agent {
    child: Child,
    /// Where it is asked for what it has, if it is.
    scrape: Option<u16>,
}

impl Agent {
    /// Starts one, and waits until it has read for the first time; `None` where it is not installed.
    fn start(name: &str, fleet: &Fleet) -> Option<Self> {
        let mut command = match name {
            "psutil" => {
                let mut command = Command::new("/usr/bin/python3");
                command.args(["-c", PSUTIL]);
                command
            }
            "process-exporter" => {
                let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr()).ok()?.port();
                return Self::exporter(port);
            }
            "netdata" => {
                let plugin = "/usr/lib/netdata/plugins.d/apps.plugin";
                if !Path::new(plugin).exists() {
                    return None;
                }
                let mut command = Command::new(plugin);
                command.arg("1");
                command
            }
            _ => {
                let mut command = Command::new(std::env::current_exe().ok()?);
                let pids = fleet.pids().iter().map(u32::to_string).collect::<Vec<_>>().join(",");
                command.args(["be", name, &pids]);
                command
            }
        };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let mut output = BufReader::new(child.stdout.take()?);
        let mut line = String::new();
        if output.read_line(&mut line).ok()? == 0 {
            let _ = child.wait();
            return None;
        }
        // What it goes on to write is read, as whoever runs it would.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Some(Self { child, scrape: None })
    }

    fn exporter(port: u16) -> Option<Self> {
        let mut config = tempfile::Builder::new().suffix(".yml").tempfile().ok()?;
        config.write_all(b"process_names:\n  - name: \"{{.Comm}}\"\n    cmdline:\n    - '.+'\n").ok()?;
        let child = Command::new("prometheus-process-exporter")
            .args(["-web.listen-address", &format!("127.0.0.1:{port}"), "-config.path"])
            .arg(config.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let agent = Self { child, scrape: Some(port) };
        let patience = Instant::now() + Duration::from_secs(20);
        while scrape(port).is_none() {
            if Instant::now() > patience {
                return None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(agent)
    }

    /// The share of a core it takes over so many ticks.
    fn measure(&self, fleet: &mut Fleet, seconds: u32) -> f64 {
        let mut next = Instant::now();
        let mut tick = |fleet: &mut Fleet| {
            fleet.poke(RUNNING);
            if let Some(port) = self.scrape {
                scrape(port);
            }
            next += TICK;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        };
        tick(fleet);
        let (start, before) = (Instant::now(), self.cpu_time());
        for _ in 0..seconds {
            tick(fleet);
        }
        (self.cpu_time() - before).as_secs_f64() / start.elapsed().as_secs_f64()
    }

    fn cpu_time(&self) -> Duration {
        cpu_clock(self.child.id())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cpu_clock(pid: u32) -> Duration {
    let clock = nix::time::ClockId::from_raw((!(pid as i32) << 3) | 2);
    nix::time::clock_gettime(clock).expect("it runs").into()
}

fn scrape(port: u16) -> Option<usize> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    socket.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut page = Vec::new();
    socket.read_to_end(&mut page).ok()
}

const PSUTIL: &str = "
import sys, time, psutil
first = True
while True:
    for process in psutil.process_iter(['pid', 'name', 'cpu_times', 'memory_info', 'io_counters', 'num_threads', 'status']):
        pass
    if first:
        print('ready', flush=True)
        first = False
    time.sleep(1)
";

/// Is one of the agents, until it is ended.
fn be(name: &str, pids: &str) {
    let ready = || {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "ready");
        let _ = out.flush();
    };
    match name {
        "appmon" => run(Processes::new().every(TICK).rates(), ready),
        "services" => run(Processes::new().lives(true).every(TICK).group_by(Service::of).rates(), ready),
        "clocks" => {
            let pids: Vec<u32> = pids.split(',').filter_map(|pid| pid.parse().ok()).collect();
            ready();
            loop {
                for pid in &pids {
                    std::hint::black_box(cpu_clock(*pid));
                }
                std::thread::sleep(TICK);
            }
        }
        "sysinfo" => {
            let mut system = sysinfo::System::new().expect("sysinfo works here");
            let mut first = true;
            loop {
                system.refresh_processes(sysinfo::ProcessesToUpdate::All, true);
                if std::mem::take(&mut first) {
                    ready();
                }
                std::thread::sleep(TICK);
            }
        }
        other => panic!("no agent {other}"),
    }
}

/// Reads the ticks, as they come.
fn run<T>(mut ticks: impl Stream<Item = Result<Snapshot<T>>> + Unpin, ready: impl Fn()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        ticks.try_next().await.expect("a tick");
        ready();
        while let Some(tick) = ticks.try_next().await.expect("a tick") {
            std::hint::black_box(tick);
        }
    });
}
