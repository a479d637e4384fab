//! The settings common to all brokers.

use crate::forward::{Escape, Template};
use crate::{Error, Result};

/// Parses a template, and checks that it is allowed in a protocol.
pub(in crate::broker) fn template<T: TryInto<Template>>(template: T, escape: Escape) -> Result<Template>
where
    Error: From<T::Error>,
{
    let template = template.try_into()?;
    template.check(escape)?;
    Ok(template)
}

/// Implements [`Publish`] for a type with a field `link`, with the settings of all brokers.
macro_rules! publish_by_link {
    ($name:ident, $in_flight:literal) => {
        publish_by_link!($name, $in_flight, None);
    };
    ($name:ident, $in_flight:literal, $codec:expr) => {
        impl $name {
            /// Sets the timeout of a batch, including the connection. Messages without an answer by then are
            /// [`Unknown`](crate::forward::Outcome::Unknown), and sent again over a new connection. Default: 5 s. On slow networks, it
            /// must be longer than the largest batch takes.
            #[must_use]
            pub fn timeout(mut self, time: std::time::Duration) -> Self {
                self.link.set_timeout(time);
                self
            }

            #[doc = concat!("Sets how many messages may wait for their answers together, at least 1. Default: ", $in_flight, ".")]
            ///
            /// After a refusal the next messages are sent one at a time, and more again as they are accepted. So a refused message can
            /// only be overtaken by those in flight with it, if the cause of the refusal ends at that moment. With 1 no message can be
            /// overtaken, at the cost of a round trip for each message.
            #[must_use]
            pub fn in_flight(mut self, messages: usize) -> Self {
                self.link.set_in_flight(messages);
                self
            }
        }

        impl crate::forward::Publish for $name {
            async fn publish(&mut self, batch: &[crate::forward::Message]) -> Vec<crate::forward::Outcome> {
                self.link.publish(batch).await
            }

            async fn check(&mut self) -> Option<crate::Result<()>> {
                self.link.check().await
            }

            fn validate(&self) -> crate::Result<()> {
                self.link.validate()
            }

            fn codec(&self) -> Option<crate::forward::Codec> {
                $codec
            }

            fn max_message_bytes(&self) -> Option<usize> {
                self.link.max_message_bytes()
            }

            fn destination(&self) -> String {
                self.link.destination()
            }

            async fn close(&mut self) {
                self.link.close().await;
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).field("link", &self.link).finish_non_exhaustive()
            }
        }
    };
}
pub(in crate::broker) use publish_by_link;
