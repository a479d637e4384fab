//! Settings of librdkafka: what is set unless it is said otherwise, and whether librdkafka knows what is said.

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;

use crate::broker::kafka::address::Address;
use crate::{Error, Result};

/// Settings that have a method, and which.
pub(super) type Own = &'static [(&'static str, &'static str)];

/// What all clients have in common.
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
        // Figures of the client for whoever runs the cluster.
        .set("enable.metrics.push", "false")
        // The ends of connections are told at this level.
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
        // A message that failed stops those after it: also where the broker does not look at their numbers.
        .set("enable.gapless.guarantee", "true")
        .set("max.in.flight.requests.per.connection", "1")
        // librdkafka would give up messages one by one, and go on with those after them: we end a batch as a whole.
        .set("message.timeout.ms", "0")
        .set("partitioner", "murmur2_random")
        .set("compression.type", "lz4")
        // A batch is there at once; there is nothing to wait for.
        .set("linger.ms", "1")
        // At most what one call brings is in the queue.
        .set("queue.buffering.max.messages", "10000");
    Ok(config)
}

pub(super) fn consumer(address: &Address, group: &str) -> Result<ClientConfig> {
    let mut config = client(address)?;
    config
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        // How far it got is what was given on, not what was fetched.
        .set("enable.auto.offset.store", "false")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "1000")
        // What a member follows stays with it when others come and go.
        .set("partition.assignment.strategy", "cooperative-sticky")
        // What is fetched ahead of what was asked for.
        .set("queued.max.messages.kbytes", "16384");
    verify(&config)?;
    Ok(config)
}

/// Sets what the user wants set.
pub(super) fn set(config: &mut ClientConfig, own: Own, key: &str, value: &str) -> Result<()> {
    if let Some((_, instead)) = own.iter().find(|(own, _)| *own == key) {
        return Err(Error::config(format!("setting {key}: {instead}")));
    }
    config.set(key, value);
    verify(config)
}

/// Asks librdkafka whether it knows all settings by these values.
fn verify(config: &ClientConfig) -> Result<()> {
    match config.create_native_config() {
        Ok(_) => Ok(()),
        // Without the value, which may be a password.
        Err(KafkaError::ClientConfig(_, why, key, _)) => Err(Error::config(format!("setting {key}: {why}"))),
        Err(error) => Err(Error::config(format!("settings of Kafka: {error}"))),
    }
}
