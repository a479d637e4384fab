//! A message on its way to an AMQP broker, and how it is confirmed.

use std::collections::BTreeMap;
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use futures::future::BoxFuture;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, ErrorKind, PublisherConfirm};
use tokio::time::Instant;

use crate::broker::link::{Fault, Reply};
use crate::forward::Message;

/// A message between our sending it and its confirmation.
pub(super) struct InFlight<'a> {
    /// With its source: those of several hosts can be on their way.
    id: String,
    state: State<'a>,
}

enum State<'a> {
    Sending(BoxFuture<'a, lapin::Result<PublisherConfirm>>),
    Confirming(PublisherConfirm),
    Done(lapin::Result<Confirmed>),
}

/// The result of a confirmation, and the message that came with it.
struct Confirmed {
    taken: bool,
    returned: Option<Returned>,
}

struct Returned {
    id: String,
    text: String,
}

/// What became of one message.
#[derive(Debug)]
pub(super) enum Answer {
    Replied(Reply),
    /// The channel or the connection ended first.
    Failed(lapin::Error),
    /// The time was over first.
    Silent,
}

impl<'a> InFlight<'a> {
    /// Hands it to the client, in order; an error when the client knows already that it cannot be sent.
    pub(super) async fn send(
        channel: &'a Channel,
        exchange: &ShortString,
        key: String,
        message: &'a Message,
    ) -> lapin::Result<Self> {
        let key = ShortString::try_new(key).map_err(std::io::Error::other)?;
        // Without a route it comes back, instead of being confirmed and forgotten.
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let properties = properties(message);
        let sending = channel.basic_publish(exchange.clone(), key, options, &message.payload, properties).boxed();
        let mut state = State::Sending(sending);
        // From its first poll on it is in the client's queue, and has its number.
        futures::future::poll_fn(|cx| Poll::Ready(state.poll(cx))).await.is_ready();
        match state {
            State::Done(Err(cause)) => Err(cause),
            state => Ok(Self { id: message.source_and_id(), state }),
        }
    }
}

impl State<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            *self = match self {
                Self::Sending(sending) => match ready!(sending.poll_unpin(cx)) {
                    Ok(confirming) => Self::Confirming(confirming),
                    Err(cause) => Self::Done(Err(cause)),
                },
                Self::Confirming(confirming) => Self::Done(ready!(confirming.poll_unpin(cx)).map(Confirmed::from)),
                Self::Done(_) => return Poll::Ready(()),
            };
        }
    }

    fn poll_now(&mut self) {
        let _ = futures::future::poll_fn(|cx| self.poll(cx)).now_or_never();
    }

    fn is_taken(&self) -> bool {
        matches!(self, Self::Done(Ok(Confirmed { taken: true, .. })))
    }

    fn failure(&self) -> Option<&lapin::Error> {
        match self {
            Self::Done(Err(cause)) => Some(cause),
            _ => None,
        }
    }

    fn returned(&self) -> Option<&Returned> {
        match self {
            Self::Done(Ok(confirmed)) => confirmed.returned.as_ref(),
            _ => None,
        }
    }
}

impl From<Confirmation> for Confirmed {
    fn from(confirmation: Confirmation) -> Self {
        let taken = confirmation.is_ack();
        let returned = confirmation.take_message().and_then(|message| {
            let headers = message.delivery.properties.headers().as_ref()?.inner();
            let header = |name: &str| headers.get(name)?.as_long_string().map(ToString::to_string);
            let id = format!("{}/{}", header("cloudEvents:source")?, header("cloudEvents:id")?);
            Some(Returned { id, text: format!("{} {}", message.reply_code, message.reply_text) })
        });
        Self { taken, returned }
    }
}

/// Waits for all confirmations, until the first fails or the time is over.
///
/// The client attaches a returned message to whichever confirmation it completes next, which may be that of another message. So
/// a returned message is known by its id, and an acknowledgement counts only once everything that was completed before it was
/// looked at.
pub(super) async fn answers(mut sent: Vec<InFlight<'_>>, deadline: Instant) -> Vec<Answer> {
    let complete = matches!(tokio::time::timeout_at(deadline, all(&mut sent)).await, Ok(true));
    if !complete {
        sent.iter_mut().for_each(|one| one.state.poll_now());
    }
    let taken: Vec<bool> = sent.iter().map(|one| one.state.is_taken()).collect();
    if !complete {
        sent.iter_mut().for_each(|one| one.state.poll_now());
    }
    let returned: BTreeMap<String, String> = sent
        .iter()
        .filter_map(|one| one.state.returned())
        .map(|returned| (returned.id.clone(), returned.text.clone()))
        .collect();
    // Once the channel has ended, all end so, some a moment later.
    let ended = sent.iter().find_map(|one| one.state.failure()).cloned();
    let answer = |(one, taken): (InFlight<'_>, bool)| match (returned.get(&one.id), one.state) {
        (Some(text), State::Done(Ok(_))) => Answer::Replied(returned_by_the_broker(text)),
        (None, State::Done(Ok(_))) if taken => Answer::Replied(Reply::Accepted),
        (None, State::Done(Ok(Confirmed { taken: false, .. }))) => Answer::Replied(not_taken()),
        (_, State::Done(Err(cause))) => Answer::Failed(cause),
        _ => ended.clone().map_or(Answer::Silent, Answer::Failed),
    };
    sent.into_iter().zip(taken).map(answer).collect()
}

async fn all(sent: &mut [InFlight<'_>]) -> bool {
    for one in sent {
        futures::future::poll_fn(|cx| one.state.poll(cx)).await;
        if matches!(one.state, State::Done(Err(_))) {
            return false;
        }
    }
    true
}

fn properties(message: &Message) -> BasicProperties {
    let mut headers = FieldTable::default();
    let mut properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_app_id("appmon".into())
        .with_timestamp(message.time.as_unix_nanos() / 1_000_000_000);
    if let Ok(id) = ShortString::try_new(message.source_and_id()) {
        properties = properties.with_message_id(id);
    }
    for (name, value) in message.attributes() {
        // Where a text is too long for a property, it is in the headers all the same.
        let short = ShortString::try_new(&*value).ok();
        properties = match (name, short) {
            ("datacontenttype", Some(value)) => properties.with_content_type(value),
            ("type", Some(value)) => properties.with_type(value),
            _ => properties,
        };
        if name != "datacontenttype" {
            headers.insert(format!("cloudEvents:{name}").into(), AMQPValue::LongString(LongString::from(&*value)));
        }
    }
    properties.with_headers(headers)
}

fn returned_by_the_broker(text: &str) -> Reply {
    let text = format!("returned ({text}): no queue for it; declare one, and bind it to the exchange");
    Reply::Refused(Fault::Place, text.into())
}

fn not_taken() -> Reply {
    let text = "not taken (basic.nack): a queue has no room, or failed; read from it, or give it more";
    Reply::Refused(Fault::Place, text.into())
}

/// Whose fault it is that the broker closed the channel over a message, as far as it reports that.
pub(super) fn fault(cause: &lapin::Error) -> Option<Fault> {
    let ErrorKind::ProtocolError(error) = cause.kind() else { return None };
    // `… message size 300 is larger than configured max size 200`
    let limit = error.get_message().as_str().split_once("larger than configured max size ");
    match (limit, error.get_id()) {
        (Some((_, limit)), _) => Some(Fault::Size(limit.trim().parse().ok())),
        (None, 311) => Some(Fault::Size(None)),
        (None, 406) => Some(Fault::Message),
        (None, 403..=405) => Some(Fault::Place),
        _ => None,
    }
}

/// Whether it is for want of a permission.
pub(super) fn is_denied(cause: &lapin::Error) -> bool {
    matches!(cause.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 403)
}

/// The broker's own words, and what to do.
pub(super) fn explained(cause: &lapin::Error) -> String {
    let ErrorKind::ProtocolError(error) = cause.kind() else { return cause.to_string() };
    let advice = match error.get_id() {
        403 => "; give the right user and password in the URL, and grant this user to write to the exchange",
        404 => "; declare it",
        530 => "; give a virtual host that exists in the URL, and this user a permission for it",
        _ => "",
    };
    format!("{} {}{advice}", error.get_id(), error.get_message())
}
