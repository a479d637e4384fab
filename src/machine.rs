//! The machine: its CPUs, its memory, its load and its pressure, and how much of it this process may use.
//!
//! [`Machine`] is where to begin. It is a source of denominators and no system monitor: CPUs one by one, disks and network interfaces are not
//! in it. [`share_of`] divides what a process, a group or a control group uses by what it may use.

mod kernel_files;
mod limits;
mod measured;
mod rates;
mod sample;
mod share;
mod source;

pub use limits::OwnLimits;
pub use rates::{MachineCpuRates, MachinePressureRates, MachineRates, MachineTotals};
pub use sample::{Cpus, Load, MachineCpu, MachineMemory, MachinePressure, MachineSample};
pub use share::{CpuDenominators, ShareOf, UsesCpu, share_of};
pub use source::Machine;
