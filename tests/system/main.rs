//! Against the live kernel: processes and file systems, as anybody and as root.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is the report of a test")]

mod control_groups;
mod entries;
mod events;
mod file_systems;
mod hard_to_read;
mod live_processes;
mod lives;
mod machine;
mod mounted;
mod namespaces;
mod own_process;
mod places;
mod root_processes;
mod scan;
mod watched;
