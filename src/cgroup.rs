//! Control groups: what services and containers use, what they may use and what they wait for; and which systemd unit, container and pod a
//! path belongs to.
//!
//! [`ControlGroups`] is where to begin.

mod config;
mod cpu;
mod event;
mod event_source;
mod event_stream;
mod fields;
mod group;
mod hierarchy;
mod identity;
mod io;
pub(crate) mod keyed;
mod limits;
mod measured;
mod memory;
mod pressure;
mod rates;
mod reading;
mod sample;
mod selection;
mod source;
mod tick;
mod tree;
mod trigger;
mod watches;

pub use cpu::{ControlGroupCpu, Throttling};
pub use event::{ControlGroupEvent, ControlGroupEventKind};
pub use event_source::ControlGroupEvents;
pub use event_stream::ControlGroupEventStream;
pub use fields::ControlGroupFields;
pub use identity::{Container, Identity, Runtime};
pub use io::{ControlGroupIo, DeviceIo, IoCounts};
pub use limits::{ControlGroupLimits, CpuMax, CpuSet, EffectiveLimit, EffectiveLimits};
pub use memory::{ControlGroupMemory, MemoryEvents, MemoryStat};
pub use pressure::{Pressure, PressureLine, PressureRates};
pub use rates::{
    ControlGroupIoRates, ControlGroupPressureRates, ControlGroupRates, ControlGroupTotals, ThrottlingRates,
};
pub use sample::{ControlGroupInfo, ControlGroupPids, ControlGroupPressure, ControlGroupSample};
pub use source::ControlGroups;
pub use trigger::{PressureLevel, PressureOf, PressureResource, PressureTrigger};
