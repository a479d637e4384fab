//! A broker of any kind as one type.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::Result;
use crate::forward::message::Message;
use crate::forward::publish::{Outcome, Publish};
use crate::wire::Codec;

/// A [`Publish`] of any kind, as one type: for programs that choose the broker while they run, as one that reads its URL from a file.
///
/// It costs an allocation for each batch.
///
/// ```
/// use appmon::forward::{BoxPublish, Forwarder, Message, Outcome, Publish};
///
/// struct Nowhere;
///
/// impl Publish for Nowhere {
///     async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
///         batch.iter().map(|_| Outcome::Accepted).collect()
///     }
/// }
///
/// let forwarder: Forwarder<BoxPublish> = Forwarder::new(BoxPublish::new(Nowhere));
/// # let _ = forwarder;
/// ```
pub struct BoxPublish(Box<dyn AnyPublish>);

impl BoxPublish {
    /// Boxes a broker.
    #[must_use]
    pub fn new(publish: impl Publish + 'static) -> Self {
        Self(Box::new(publish))
    }
}

impl fmt::Debug for BoxPublish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoxPublish").field(&self.0.destination()).finish()
    }
}

impl Publish for BoxPublish {
    async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
        self.0.publish(batch).await
    }

    async fn check(&mut self) -> Option<Result<()>> {
        self.0.check().await
    }

    fn validate(&self) -> Result<()> {
        self.0.validate()
    }

    fn max_message_bytes(&self) -> Option<usize> {
        self.0.max_message_bytes()
    }

    fn destination(&self) -> String {
        self.0.destination()
    }

    fn codec(&self) -> Option<Codec> {
        self.0.codec()
    }

    async fn close(&mut self) {
        self.0.close().await;
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The object-safe form of [`Publish`].
trait AnyPublish: Send {
    fn publish<'a>(&'a mut self, batch: &'a [Message]) -> Boxed<'a, Vec<Outcome>>;
    fn check(&mut self) -> Boxed<'_, Option<Result<()>>>;
    fn validate(&self) -> Result<()>;
    fn max_message_bytes(&self) -> Option<usize>;
    fn destination(&self) -> String;
    fn codec(&self) -> Option<Codec>;
    fn close(&mut self) -> Boxed<'_, ()>;
}

impl<P: Publish> AnyPublish for P {
    fn publish<'a>(&'a mut self, batch: &'a [Message]) -> Boxed<'a, Vec<Outcome>> {
        Box::pin(Publish::publish(self, batch))
    }

    fn check(&mut self) -> Boxed<'_, Option<Result<()>>> {
        Box::pin(Publish::check(self))
    }

    fn validate(&self) -> Result<()> {
        Publish::validate(self)
    }

    fn max_message_bytes(&self) -> Option<usize> {
        Publish::max_message_bytes(self)
    }

    fn destination(&self) -> String {
        Publish::destination(self)
    }

    fn codec(&self) -> Option<Codec> {
        Publish::codec(self)
    }

    fn close(&mut self) -> Boxed<'_, ()> {
        Box::pin(Publish::close(self))
    }
}
