//! Programs that a user must be able to write, in the shape they are written: names, builders, imports, fields.
//!
//! What runs for ever is compiled only; the other is run.

#![allow(clippy::print_stdout)] // They are programs.

#[allow(dead_code)]
#[path = "contract/processes.rs"]
mod processes;

#[allow(dead_code)]
#[path = "contract/disks.rs"]
mod disks;

#[allow(dead_code)]
#[path = "contract/events.rs"]
mod events;

#[allow(dead_code)]
#[path = "contract/groups.rs"]
mod groups;

#[cfg(feature = "prometheus")]
#[path = "contract/own.rs"]
mod own;

#[cfg(all(feature = "config", feature = "nats"))]
#[path = "contract/config.rs"]
mod config;

#[cfg(all(feature = "config", feature = "nats"))]
#[test]
fn config_runs() {
    config::main().unwrap();
}

#[cfg(feature = "nats")]
#[allow(dead_code)]
#[path = "contract/forward.rs"]
mod forward;

#[cfg(feature = "nats")]
#[allow(dead_code)]
#[path = "contract/units.rs"]
mod units;

#[cfg(feature = "nats")]
#[allow(dead_code)]
#[path = "contract/agent.rs"]
mod agent;
#[cfg(feature = "recording")]
#[allow(dead_code)]
#[path = "contract/replay.rs"]
mod replay;

#[path = "contract/once.rs"]
mod once;

#[test]
fn once_runs() {
    once::main().unwrap();
}

#[cfg(feature = "prometheus")]
#[test]
fn own_runs() {
    own::main().unwrap();
}
