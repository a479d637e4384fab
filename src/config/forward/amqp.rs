//! Settings of AMQP.

use super::common::{Common, apply};
use crate::Result;
use crate::broker::amqp::Amqp;
use crate::config::keys::{settings, wrong};
use crate::forward::BoxPublish;

settings! {
    /// The settings of AMQP alone.
    #[derive(Default)]
    pub struct AmqpConfig {
        required {}
        optional {
            /// The exchange: [`Amqp::exchange`].
            exchange: Option<String>,
            /// The routing keys: [`Amqp::routing_key`].
            routing_key: Option<String>,
            /// The queue, instead of exchange and routing key: [`Amqp::queue`].
            queue: Option<String>,
        }
    }
}

impl AmqpConfig {
    pub(super) fn broker(&self, common: Common<'_>, url: &str) -> Result<BoxPublish> {
        let Self { exchange, routing_key, queue } = self;
        let mut broker = Amqp::new(url)?;
        if let Some(exchange) = exchange {
            broker = broker.exchange(exchange);
        }
        if let Some(key) = routing_key {
            broker = broker.routing_key(key);
        }
        if let Some(queue) = queue {
            if exchange.is_some() || routing_key.is_some() {
                return Err(wrong("amqp.queue", "either a queue, or exchange and routing_key"));
            }
            broker = broker.queue(queue);
        }
        apply!(broker, common);
        Ok(BoxPublish::new(broker))
    }
}
