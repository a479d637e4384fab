//! A producer of librdkafka, and what it reports.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::{mpsc, oneshot};

use crate::broker::blocking::blocking;
use crate::forward::Message;
use crate::{Error, Result};

/// One producer: its threads, its connections, and its sequence of messages.
///
/// It serves one call of [`publish`](crate::forward::Publish::publish) after the other as long as each ends with every message
/// settled; then it is as new. After anything else it is taken down, and the next call makes another.
pub(super) struct Producer {
    client: Arc<BaseProducer<Reports>>,
    /// The thread that serves the client's events. It sleeps between calls.
    poller: Option<JoinHandle<()>>,
    reports: mpsc::UnboundedReceiver<Report>,
    /// The kinds and hosts, and so the partitions, of which a broker has taken a message.
    begun: HashSet<(Arc<str>, Arc<str>)>,
}

/// More kinds and hosts than this are not remembered.
const MOST_BEGUN: usize = 10_000;

/// What a call waits for.
pub(super) enum Report {
    /// What became of the message of this number.
    Settled(usize, Result<(), RDKafkaErrorCode>),
    /// No broker can be reached.
    AllDown,
    /// The producer can go on no more: of this one nothing will be accepted.
    Fatal,
}

impl Producer {
    /// Makes one, beside the runtime's threads: reading certificates may block. Nothing is connected yet.
    pub(super) async fn new(config: ClientConfig) -> Result<Self> {
        blocking(move || {
            let (to, reports) = mpsc::unbounded_channel();
            let context = Reports { to, notes: Mutex::default() };
            let client = BaseProducer::from_config_and_context(&config, context)
                .map_err(|error| Error::broker_because(format!("no producer: {error}"), error))?;
            let client = Arc::new(client);
            let serve = {
                let client = Arc::clone(&client);
                move || serve(&client)
            };
            let poller = thread::Builder::new().name("appmon-kafka".to_owned()).spawn(serve).map_err(Error::io)?;
            Ok(Self { client, poller: Some(poller), reports, begun: HashSet::new() })
        })
        .await
    }

    /// Waits until a broker answered, for a producer that none has answered yet. Returns it when one did.
    pub(super) async fn greet(mut self, timeout: Duration) -> Result<Self> {
        const STEP: Duration = Duration::from_millis(100);
        self.listen(true);
        blocking(move || {
            let begin = std::time::Instant::now();
            while self.client.client().fetch_cluster_id(STEP).is_none() {
                let down = matches!(self.reports.try_recv(), Ok(Report::AllDown | Report::Fatal));
                if down || begin.elapsed() >= timeout {
                    let detail = self.trouble().map(|text| format!(": {text}")).unwrap_or_default();
                    return Err(Error::broker(format!("no broker answers{detail}")));
                }
            }
            self.listen(false);
            while self.reports.try_recv().is_ok() {}
            Ok(self)
        })
        .await
    }

    /// Puts a message into the producer's queue: the payload is copied. It is reported under `number`.
    pub(super) fn send(&self, topic: &str, message: &Message, number: usize) -> Result<(), RDKafkaErrorCode> {
        let millis = message.time.as_unix_nanos() / 1_000_000;
        let record = BaseRecord::with_opaque_to(topic, number)
            .key(&*message.host)
            .payload(&*message.payload)
            .timestamp(i64::try_from(millis).unwrap_or(i64::MAX))
            .headers(headers(message));
        self.client.send(record).map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail))
    }

    /// Whether a broker has taken a message like this. From then on it looks at the numbers of those that follow, and refuses
    /// one after a gap.
    pub(super) fn has_begun(&self, message: &Message) -> bool {
        self.begun.contains(&(Arc::clone(&message.kind), Arc::clone(&message.host)))
    }

    pub(super) fn begun(&mut self, message: &Message) {
        // Of a relay's hosts, which come and go. Those that are forgotten begin anew.
        if self.begun.len() >= MOST_BEGUN {
            self.begun.clear();
        }
        self.begun.insert((Arc::clone(&message.kind), Arc::clone(&message.host)));
    }

    /// The next report.
    pub(super) async fn report(&mut self) -> Report {
        match self.reports.recv().await {
            Some(report) => report,
            // The context has the other end, and lives as long as the client.
            None => std::future::pending().await,
        }
    }

    /// A call begins, or ends: what happens to connections in between is nobody's business.
    pub(super) fn listen(&self, listening: bool) {
        self.turn(if listening { Mode::Listening } else { Mode::Idle });
    }

    fn turn(&self, mode: Mode) {
        self.notes().mode = mode;
        if let Some(poller) = &self.poller {
            poller.thread().unpark();
        }
    }

    /// Gives up what was not settled: it is reported so, as soon as the threads of the client get to it.
    pub(super) fn give_up(&self) {
        self.client.purge(PurgeConfig::default().queue().inflight().non_blocking());
    }

    /// The client's last error about its connections.
    pub(super) fn trouble(&self) -> Option<String> {
        self.notes().last.clone()
    }

    /// Whether anything may have got to a broker.
    pub(super) fn reached(&self) -> bool {
        self.notes().reached
    }

    /// Why it can go on no more, where that is so.
    pub(super) fn fatal(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.client.client().fatal_error()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.client.client().context().notes()
    }

    /// Takes it down on a thread of its own: that waits for the threads of the client, one of which may be asking for the address
    /// of a host. It lets go of all messages first.
    pub(super) fn retire(mut self) -> Retired {
        let (done, retired) = oneshot::channel();
        let take_down = move || {
            self.client.purge(PurgeConfig::default().queue().inflight());
            self.turn(Mode::Over);
            let _ = self.poller.take().map(JoinHandle::join);
            drop(self);
            let _ = done.send(());
        };
        // Where there can be no thread, the closure is dropped here and now, and the producer with it.
        let _ = thread::Builder::new().name("appmon-kafka".to_owned()).spawn(take_down);
        Retired(retired)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // The thread may be the last to hold the client, and then takes it down.
        self.turn(Mode::Over);
    }
}

/// Serves the events of a client until it is over.
fn serve(client: &BaseProducer<Reports>) {
    // librdkafka counts in milliseconds, and the last of them is spent busily.
    const STEP: Duration = Duration::from_millis(50);
    // Messages of librdkafka between calls are not to pile up.
    const REST: Duration = Duration::from_secs(10);
    loop {
        let mode = client.client().context().notes().mode;
        match mode {
            Mode::Listening => client.poll(STEP),
            Mode::Idle => {
                thread::park_timeout(REST);
                client.poll(Duration::ZERO);
            }
            Mode::Over => break,
        }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

/// A producer that is being taken down.
#[derive(Debug)]
pub(super) struct Retired(oneshot::Receiver<()>);

impl Retired {
    /// Waits until it is gone.
    pub(super) async fn gone(&mut self) {
        // An error is a producer that is gone too.
        let _ = (&mut self.0).await;
    }
}

/// Where librdkafka's own threads report to.
struct Reports {
    to: mpsc::UnboundedSender<Report>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    mode: Mode,
    reached: bool,
    last: Option<String>,
}

/// What the thread that serves the events does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// It sleeps: no call is under way.
    #[default]
    Idle,
    Listening,
    Over,
}

impl Notes {
    fn failed(&mut self, code: Option<RDKafkaErrorCode>, text: &str) {
        self.reached |= !is_before_requests(code, text);
        self.last = Some(text.to_owned());
    }
}

impl Reports {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let result = match result {
            Ok(_) => {
                let mut notes = self.notes();
                notes.reached = true;
                notes.last = None;
                Ok(())
            }
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        let _ = self.to.send(Report::Settled(number, result));
    }
}

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        let mut notes = self.notes();
        let report = match code {
            Some(RDKafkaErrorCode::AllBrokersDown) => Report::AllDown,
            Some(RDKafkaErrorCode::Fatal) => Report::Fatal,
            _ => return notes.failed(code, reason),
        };
        if notes.mode == Mode::Listening {
            let _ = self.to.send(report);
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        // A connection that ended is no error to librdkafka, and is only reported here.
        if facility == "FAIL" {
            self.notes().failed(None, line);
        }
        tracing::debug!(target: "appmon::broker::kafka", ?level, facility, "{line}");
    }
}

/// Whether an error is one of a connection over which no message has gone yet. librdkafka ends its texts with the state of the
/// connection; a text it does not end so is not taken for one.
fn is_before_requests(code: Option<RDKafkaErrorCode>, reason: &str) -> bool {
    const STATES: [&str; 7] =
        ["TRY_CONNECT", "CONNECT", "SSL_HANDSHAKE", "APIVERSION_QUERY", "AUTH_LEGACY", "AUTH_HANDSHAKE", "AUTH_REQ"];
    match code {
        Some(RDKafkaErrorCode::Resolve) => true,
        _ => reason.rsplit_once("in state ").is_some_and(|(_, end)| {
            let state = end.split([')', ',']).next().unwrap_or_default();
            STATES.contains(&state)
        }),
    }
}

/// The attributes, as the CloudEvents binding for Kafka names them.
fn headers(message: &Message) -> OwnedHeaders {
    let attributes = message.attributes();
    let mut headers = OwnedHeaders::new_with_capacity(attributes.len());
    for (name, value) in &attributes {
        let value = Some(&**value);
        headers = match *name {
            "datacontenttype" => headers.insert(Header { key: "content-type", value }),
            name => headers.insert(Header { key: &format!("ce_{name}"), value }),
        };
    }
    headers
}

/// How long a producer has to report what was given up.
pub(super) const GIVING_UP: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_has_carried_nothing() {
        let transport = Some(RDKafkaErrorCode::BrokerTransportFailure);
        for before in [
            "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
            "h:1/1: Connect to ipv4#1.2.3.4:1 failed: x (after 9ms in state CONNECT, 3 identical error(s) suppressed)",
            "sasl_plaintext://h:1/bootstrap: SASL authentication error: no (after 1ms in state AUTH_REQ)",
        ] {
            assert!(is_before_requests(transport, before), "{before}");
        }
        for after in ["h:1/1: Disconnected (after 5ms in state UP)", "h:1/1: 2 request(s) timed out: disconnect", ""] {
            assert!(!is_before_requests(transport, after), "{after}");
        }
    }
}
