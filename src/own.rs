//! One's own process: its usage, its threads, its runtime, and the cost of the sources in it.
//!
//! [`OwnProcess`] is where to begin.

mod measured;
mod rates;
mod runtime;
mod sample;
mod source;
mod threads;

pub use rates::{OwnRates, OwnTotals, RuntimeRates, ThreadRates, WorkerRates};
pub use runtime::{RuntimeSample, UnstableRuntime, WorkerSample};
pub use sample::{OwnSample, OwnSource};
pub use source::OwnProcess;
pub use threads::ThreadsSample;
