//! Serde forms of all settings, for pipelines that are read from a file.
//!
//! Each type here is a table of settings; its `build` or `apply` returns the source, combinator or forwarder. Each key has the name of a
//! setter of that. The format of the file is the program's choice, and so is its outline; here it is JSON, and `appmon-agent` in `examples/agent` has one in TOML:
//!
//! ```
//! use appmon::config::{Duration, FileSystemsConfig, ProcessesConfig};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Agent {
//!     every: Duration,
//!     processes: ProcessesConfig,
//!     file_systems: FileSystemsConfig,
//! }
//!
//! let agent: Agent = serde_json::from_str(
//!     r#"{
//!     "every": "10s",
//!     "processes": { "select": "cgroup=/**/*.service & !kernel_thread", "fields": ["io", "user", "cgroup"] },
//!     "file_systems": { "mounted": true, "directories": [{ "name": "logs", "path": "/var/log", "ttl": "1m" }] }
//!     }"#,
//! )
//! .expect("an error names the key and the place");
//! let (processes, file_systems) = (agent.processes.build()?, agent.file_systems.build()?);
//! # let _ = (processes, file_systems);
//! # Ok::<(), appmon::Error>(())
//! ```
//!
//! - A key that does not exist is an error, which names the nearest one.
//! - A key that is missing has the default of the setter.
//! - Durations and sizes are texts with a unit: `10s`, `64 MiB`. See [`Duration`] and [`Size`].
//! - Secrets are never in a file of settings: they are read from files and environment variables that the settings name. A password in a URL
//!   is refused.
//! - Functions and handles have no keys: [`Processes::redact`](crate::Processes::redact), tokens, metrics of a runtime. Set them on the result
//!   of `build`.
//!
//! Settings of a builder are obtained by `from(&builder)`, as in `ProcessesConfig::from(&processes)`. With the feature `schema` each type has
//! a JSON Schema, which is also in the folder `schema`.

#[cfg(feature = "prometheus")]
mod export;
mod file_systems;
#[cfg(feature = "forward")]
mod forward;
mod keys;
mod processes;
mod quantities;
mod streams;

#[cfg(feature = "prometheus")]
pub use export::PrometheusConfig;
pub use file_systems::{DirectoryConfig, FileSystemConfig, FileSystemsConfig};
#[cfg(feature = "amqp")]
pub use forward::AmqpConfig;
#[cfg(feature = "mqtt")]
pub use forward::MqttConfig;
#[cfg(feature = "nats")]
pub use forward::NatsConfig;
#[cfg(feature = "otlp")]
pub use forward::OtlpConfig;
#[cfg(feature = "redis")]
pub use forward::RedisConfig;
#[cfg(feature = "_link")]
pub use forward::TlsConfig;
#[cfg(feature = "forward")]
pub use forward::{ForwardConfig, MessagesConfig, RetryConfig, SpoolConfig, Url};
#[cfg(feature = "kafka")]
pub use forward::{KafkaConfig, KafkaSettings};
pub use processes::{OwnProcessConfig, ProcessEventsConfig, ProcessesConfig};
pub use quantities::{Duration, Size};
pub use streams::{AlertConfig, AlertOn, By, GroupsConfig, WindowConfig};
