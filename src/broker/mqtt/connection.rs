//! A connection to a broker, and how a batch goes over it.

use std::future::{Future, poll_fn, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::{BoxFuture, Either, select};
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};

use crate::forward::{Message, Outcome};

use super::{Settings, Version, v5, v311};

/// A connection in one version of the protocol.
pub(super) enum Connection {
    V5(v5::Client),
    V311(v311::Client),
}

/// What the versions have each of their own. The client library's event loop is polled here and nowhere else, within a call.
pub(super) trait Client: Sized + Send {
    /// What queues messages, while the client is polled.
    type Sender: Send;

    /// Connects, with a clean start. The error is the text.
    fn connect(
        settings: &Settings,
        tls: Option<Arc<ClientConfig>>,
    ) -> impl Future<Output = Result<Self, String>> + Send;

    /// The largest packet that the broker says it takes.
    fn max_packet_bytes(&self) -> Option<u32>;

    fn sender(&self) -> Self::Sender;

    /// Queues a message; one that is refused here is not.
    fn send(sender: &Self::Sender, message: &Message, settings: &Arc<Settings>) -> Result<Answer, Outcome>;

    /// Queues the end of the connection.
    fn disconnect(&self);

    /// Goes on with what was queued and what comes in, until there is news. Where messages are on their way the future must not be
    /// dropped, and the client be used again; after an error neither: the library would connect and send again on its own.
    fn poll(&mut self) -> impl Future<Output = Result<(), Lost>> + Send;
}

/// What will become of a message; `None` when the client ended before an answer came.
pub(super) type Answer = BoxFuture<'static, Option<Outcome>>;

/// A connection has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) why: String,
    /// Whether the broker ended it over the first message that it did not acknowledge: it goes through them in order.
    pub(super) first_refused: bool,
}

/// How a batch went.
pub(super) struct Landed<C> {
    pub(super) outcomes: Vec<Outcome>,
    /// What can be used again.
    pub(super) client: Option<C>,
    /// Whether the time was over before all was acknowledged, and the connection stood.
    pub(super) silent: bool,
}

impl<C> Landed<C> {
    fn map<D>(self, to: impl FnOnce(C) -> D) -> Landed<D> {
        Landed { outcomes: self.outcomes, client: self.client.map(to), silent: self.silent }
    }
}

impl Connection {
    /// A new one, until `deadline`. The error is the text.
    pub(super) async fn open(settings: &Settings, deadline: Instant) -> Result<Self, String> {
        let tls = settings.tls.clone().filter(|_| settings.address.tls);
        let opened = timeout_at(deadline, async {
            Ok(match settings.version {
                Version::V5 => Self::V5(v5::Client::connect(settings, tls).await?),
                Version::V311 => Self::V311(v311::Client::connect(settings, tls).await?),
            })
        });
        opened.await.unwrap_or_else(|_| Err("no answer when connecting".to_owned()))
    }

    pub(super) fn max_packet_bytes(&self) -> Option<u32> {
        match self {
            Self::V5(client) => client.max_packet_bytes(),
            Self::V311(client) => client.max_packet_bytes(),
        }
    }

    /// Whether it stands, as far as is known here: what came in since the last call is looked at.
    pub(super) fn is_alive(&mut self) -> bool {
        match self {
            Self::V5(client) => is_alive(client),
            Self::V311(client) => is_alive(client),
        }
    }

    /// Publishes a batch; the connection is given back if it can be used again.
    pub(super) async fn publish(self, batch: &[Message], settings: &Arc<Settings>, deadline: Instant) -> Landed<Self> {
        match self {
            Self::V5(client) => publish(client, batch, settings, deadline).await.map(Self::V5),
            Self::V311(client) => publish(client, batch, settings, deadline).await.map(Self::V311),
        }
    }

    /// Tells the broker that this is the end.
    pub(super) async fn close(self, deadline: Instant) {
        // When the time is over the connection just ends, which a broker can live with.
        let _ = timeout_at(deadline, async {
            match self {
                Self::V5(client) => close(client).await,
                Self::V311(client) => close(client).await,
            }
        })
        .await;
    }
}

/// How many packets are looked at between two calls, more than a broker has reason to send.
const IDLE_PACKETS: usize = 1000;

fn is_alive(client: &mut impl Client) -> bool {
    for _ in 0..IDLE_PACKETS {
        match client.poll().now_or_never() {
            None => return true,
            Some(Ok(())) => {}
            Some(Err(_)) => return false,
        }
    }
    true
}

async fn publish<C: Client>(
    mut client: C,
    batch: &[Message],
    settings: &Arc<Settings>,
    deadline: Instant,
) -> Landed<C> {
    let mut flight = Flight::<C>::new(client.sender(), batch, settings);
    let mut silent = false;
    let lost = {
        let until_lost = pin!(async {
            loop {
                if let Err(lost) = client.poll().await {
                    return lost;
                }
            }
        });
        match timeout_at(deadline, select(poll_fn(|cx| flight.poll(cx)), until_lost)).await {
            Ok(Either::Left(_)) => None,
            Ok(Either::Right((lost, _))) => Some(lost),
            Err(_) => {
                silent = true;
                Some(Lost { why: "no acknowledgement in time".to_owned(), first_refused: false })
            }
        }
    };
    let Some(lost) = lost else {
        let gave_up = Lost { why: "the client gave it up".to_owned(), first_refused: false };
        let client = flight.all_answered().then_some(client);
        return Landed { outcomes: flight.outcomes(&gave_up), client, silent };
    };
    // Answers that came are there; the others end with the client. A new connection is for the next call: what follows in this
    // batch must not overtake what was lost.
    drop(client);
    flight.land().await;
    Landed { outcomes: flight.outcomes(&lost), client: None, silent }
}

/// A batch on its way.
struct Flight<'a, C: Client> {
    settings: &'a Arc<Settings>,
    sender: Option<C::Sender>,
    unsent: std::slice::Iter<'a, Message>,
    on_their_way: FuturesOrdered<Answer>,
    /// In the order of the batch.
    answers: Vec<Option<Outcome>>,
}

impl<'a, C: Client> Flight<'a, C> {
    fn new(sender: C::Sender, batch: &'a [Message], settings: &'a Arc<Settings>) -> Self {
        Self {
            settings,
            sender: Some(sender),
            unsent: batch.iter(),
            on_their_way: FuturesOrdered::new(),
            answers: Vec::with_capacity(batch.len()),
        }
    }

    /// Sends what may be on its way, and takes in answers. Ready when all that was sent is answered.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            while self.on_their_way.len() < self.settings.window()
                && let Some(sender) = &self.sender
                && let Some(message) = self.unsent.next()
            {
                self.on_their_way.push_back(match C::send(sender, message, self.settings) {
                    Ok(answer) => answer,
                    Err(refused) => Box::pin(ready(Some(refused))),
                });
            }
            match ready!(self.on_their_way.poll_next_unpin(cx)) {
                Some(answer) => {
                    if matches!(answer, Some(Outcome::Retry(_)) | None) {
                        // Nothing more goes out: it would come before this one.
                        self.sender = None;
                    }
                    self.answers.push(answer);
                }
                None => return Poll::Ready(()),
            }
        }
    }

    /// The client has ended: sends nothing more, and takes in the answers that came.
    async fn land(&mut self) {
        self.sender = None;
        while let Some(answer) = self.on_their_way.next().await {
            self.answers.push(answer);
        }
    }

    fn all_answered(&self) -> bool {
        self.answers.iter().all(Option::is_some)
    }

    /// All outcomes, where `lost` is what became of those without an answer.
    fn outcomes(self, lost: &Lost) -> Vec<Outcome> {
        let error = |why: &str| self.settings.error(why);
        let mut refused = lost.first_refused;
        let answered = self.answers.into_iter().map(|answer| {
            answer.unwrap_or_else(|| {
                let error = error(&lost.why);
                if std::mem::take(&mut refused) { Outcome::Rejected(error) } else { Outcome::Unknown(error) }
            })
        });
        let unsent = self.unsent.map(|_| Outcome::Retry(error("not sent: one before it is to be sent again")));
        answered.chain(unsent).collect()
    }
}

async fn close(mut client: impl Client) {
    client.disconnect();
    while client.poll().await.is_ok() {}
}
