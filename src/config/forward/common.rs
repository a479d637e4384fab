//! What the tables of brokers need of the settings that all brokers have.

#[cfg(feature = "_link")]
use super::tls::TlsConfig;
use crate::config::Duration;

/// The settings that all brokers have.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "each broker uses a part of it")]
pub(super) struct Common<'a> {
    pub(super) timeout: Option<Duration>,
    pub(super) in_flight: Option<usize>,
    pub(super) has_user: bool,
    pub(super) has_password: bool,
    #[cfg(feature = "_link")]
    pub(super) tls: Option<&'a TlsConfig>,
    #[cfg(not(feature = "_link"))]
    pub(super) tls: Option<&'a ()>,
}

/// Sets them at a broker over a link.
#[cfg(any(feature = "amqp", feature = "mqtt", feature = "otlp", feature = "redis"))]
macro_rules! apply {
    ($broker:ident, $common:ident) => {
        if let Some(tls) = $common.tls {
            $broker = $broker.tls(tls.build()?);
        }
        if let Some(timeout) = $common.timeout {
            $broker = $broker.timeout(timeout.get());
        }
        if let Some(messages) = $common.in_flight {
            $broker = $broker.in_flight(messages);
        }
    };
}
#[cfg(any(feature = "amqp", feature = "mqtt", feature = "otlp", feature = "redis"))]
pub(super) use apply;
