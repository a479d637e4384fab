//! The settings that brokers have in common.

use crate::forward::{Escape, Template};
use crate::{Error, Result};

/// A template that can be the text of a place in a protocol.
pub(in crate::broker) fn template<T: TryInto<Template>>(template: T, escape: Escape) -> Result<Template>
where
    Error: From<T::Error>,
{
    let template = template.try_into()?;
    template.check(escape)?;
    Ok(template)
}

/// Makes a type with a field `link` a [`Publish`], with the settings that all brokers have.
macro_rules! publish_by_link {
    ($name:ident, $in_flight:literal) => {
        impl $name {
            /// How long a batch may take, the connection included. What is not answered by then is
            /// [`Unknown`](crate::forward::Outcome::Unknown), and sent again over a new connection. Default: 5 s. On slow lines, give
            /// it more than the largest batch takes.
            #[must_use]
            pub fn timeout(mut self, time: std::time::Duration) -> Self {
                self.link.set_timeout(time);
                self
            }

            #[doc = concat!("How many messages may wait for their answers together, at least 1. Default: ", $in_flight, ".")]
            ///
            /// After the broker refused one, the next are sent one at a time, and more again as they are taken. So what can overtake
            /// a refused message is what was on its way with it, in the moment in which what refused it gives way; with 1, which costs
            /// a round trip for each message, nothing can.
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
