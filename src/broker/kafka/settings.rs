//! Settings of librdkafka: the defaults of this crate, and the check of the user's settings.

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;

use crate::broker::kafka::address::Address;
use crate::{Error, Result};

/// Settings that have a method, with that method.
pub(super) type Own = &'static [(&'static str, &'static str)];

/// The settings common to all clients.
pub(super) fn client(address: &Address) -> Result<ClientConfig> {
    if address.tls && !cfg!(feature = "kafka-ssl") {
        return Err(Error::config("kafkas:// needs the feature kafka-ssl"));
    }
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &address.brokers)
        .set("client.id", "appmon")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true")
        // No metrics of the client for the operators of the cluster.
        .set("enable.metrics.push", "false")
        // The ends of connections are logged at this level.
        .set_log_level(RDKafkaLogLevel::Info);
    let protocol = match (&address.login, address.tls) {
        (None, false) => "plaintext",
        (None, true) => "ssl",
        (Some(_), false) => "sasl_plaintext",
        (Some(_), true) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(login) = &address.login {
        config.set("sasl.mechanism", "PLAIN").set("sasl.username", &login.user).set("sasl.password", &login.password);
    }
    verify(&config)?;
    Ok(config)
}

pub(super) fn producer(address: &Address) -> Result<ClientConfig> {
    let mut config = client(address)?;
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // A failed message stops later ones, also if the broker does not check their numbers.
        .set("enable.gapless.guarantee", "true")
        .set("max.in.flight.requests.per.connection", "1")
        // librdkafka would give up messages one by one and continue with later ones; the batch must end as a whole.
        .set("message.timeout.ms", "0")
        .set("partitioner", "murmur2_random")
        .set("compression.type", "lz4")
        // All messages of a batch are queued at once, so lingering is of no use.
        .set("linger.ms", "1")
        // The queue holds at most the messages of one call.
        .set("queue.buffering.max.messages", "10000");
    Ok(config)
}

pub(super) fn consumer(address: &Address, group: &str) -> Result<ClientConfig> {
    let mut config = client(address)?;
    config
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        // The position is that of the yielded messages, not of the fetched ones.
        .set("enable.auto.offset.store", "false")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "1000")
        // Partitions stay with their member when others join and leave.
        .set("partition.assignment.strategy", "cooperative-sticky")
        // Messages fetched ahead.
        .set("queued.max.messages.kbytes", "16384");
    verify(&config)?;
    Ok(config)
}

/// Applies a setting of the user.
pub(super) fn set(config: &mut ClientConfig, own: Own, key: &str, value: &str) -> Result<()> {
    if let Some((_, instead)) = own.iter().find(|(own, _)| *own == key) {
        return Err(Error::config(format!("setting {key}: {instead}")));
    }
    config.set(key, value);
    verify(config)
}

/// Checks that librdkafka accepts all settings with these values.
fn verify(config: &ClientConfig) -> Result<()> {
    match config.create_native_config() {
        Ok(_) => Ok(()),
        // The error must not contain the value, which may be a password.
        Err(KafkaError::ClientConfig(_, why, key, _)) => Err(Error::config(format!("setting {key}: {why}"))),
        Err(error) => Err(Error::config(format!("the settings of librdkafka: {error}"))),
    }
}
