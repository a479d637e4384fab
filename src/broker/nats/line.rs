//! A connection to a server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ReconnectToServer, ServerAddr};
use tokio::sync::Notify;

use crate::broker::link::{Cause, Session};
use crate::broker::url::Url;

/// The client's own timeout: who calls has one that holds for all of it.
pub(super) const NO_TIMEOUT: Duration = Duration::from_secs(1 << 30);

pub(super) async fn open(url: &Url, options: ConnectOptions) -> Result<Line, Cause> {
    let address = |text: String| text.parse::<ServerAddr>().map_err(|error| Cause::of("no address", error));
    let (address, dead) = (address(url.to_string())?, address("nats://127.0.0.1:0".to_owned())?);
    // The client would connect again by itself and go on with what it holds, and so send what is later over a new connection
    // while what is earlier was lost with the old one. It has no switch for that. So after the first connection it is made to
    // go to where nobody ever answers, once: then it gives up, and we make a connection when it is time.
    let first = AtomicUsize::new(0);
    let pool = vec![address.clone(), dead.clone()];
    let errors = Arc::new(Errors::default());
    let heard = Arc::clone(&errors);
    let options = options
        .max_reconnects(1)
        .reconnect_to_server_callback(move |_, _| {
            let addr = if first.fetch_add(1, Ordering::Relaxed) == 0 { address.clone() } else { dead.clone() };
            async move { Some(ReconnectToServer { addr, delay: Some(Duration::ZERO) }) }
        })
        .event_callback(move |event| {
            if let Event::ServerError(error) = event {
                heard.push(&error.to_string());
            }
            std::future::ready(())
        });
    let client = options.connect(pool).await.map_err(refused)?;
    Ok(Line { client, errors })
}

/// Why there is no connection, and what to do about it.
fn refused(error: async_nats::ConnectError) -> Cause {
    use async_nats::ConnectErrorKind as Kind;
    let what = match error.kind() {
        Kind::AuthorizationViolation | Kind::Authentication => {
            "the server does not let us in: see user, password or key"
        }
        Kind::Tls => "no TLS connection: see whether the server speaks TLS, and whose certificates are trusted",
        Kind::Dns => "the name of the host is not known",
        Kind::TimedOut => "no answer",
        _ => "no connection",
    };
    let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(" ({cause})"));
    Cause::of(format!("{what}{cause}"), error)
}

/// A connection, which never becomes another one by itself.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) client: Client,
    pub(super) errors: Arc<Errors>,
}

impl Line {
    /// Waits until the server has seen all that was sent before: it answers that nobody listens to a subject of our own. It needs
    /// what everybody needs who waits for answers: to subscribe to `_INBOX.>`.
    pub(super) async fn round_trip(&self) -> Result<(), Cause> {
        let nobody = self.client.new_inbox();
        let request = async_nats::Request::new().payload(bytes::Bytes::new()).timeout(Some(NO_TIMEOUT));
        let answer = self.client.send_request(nobody.clone(), request);
        tokio::select! {
            biased;
            () = self.errors.until(|errors| errors.deaf()) => {
                Err("no permission to subscribe to answers: grant this user to subscribe to _INBOX.>".into())
            }
            // A refusal is an answer too.
            () = self.errors.until(|errors| errors.denied(&nobody)) => Ok(()),
            answer = answer => match answer {
                Ok(_) => Ok(()),
                Err(error) if error.kind() == async_nats::RequestErrorKind::NoResponders => Ok(()),
                Err(error) => Err(Cause::of(format!("no answer: {error}"), error)),
            },
        }
    }
}

impl Session for Line {
    fn is_open(&mut self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    fn limit(&self) -> Option<usize> {
        Some(self.client.max_payload()).filter(|bytes| *bytes > 0)
    }

    async fn close(self) {}
}

/// What the server complained about on this connection, in small letters.
#[derive(Debug, Default)]
pub(super) struct Errors {
    texts: Mutex<Vec<String>>,
    changed: Notify,
}

/// More complaints than this are of no use.
const MOST_ERRORS: usize = 64;

impl Errors {
    fn texts(&self) -> MutexGuard<'_, Vec<String>> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, text: &str) {
        let text = text.to_ascii_lowercase();
        let mut texts = self.texts();
        if texts.len() < MOST_ERRORS && !texts.contains(&text) {
            texts.push(text);
        }
        drop(texts);
        self.changed.notify_waiters();
    }

    /// What was denied before may be permitted by now.
    pub(super) fn forget(&self) {
        self.texts().clear();
    }

    /// Waits until it is so.
    pub(super) async fn until(&self, condition: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if condition(self) {
                return;
            }
            changed.await;
        }
    }

    /// Whether publishing to this subject is not permitted.
    pub(super) fn denied(&self, subject: &str) -> bool {
        let texts = self.texts();
        if texts.is_empty() {
            return false;
        }
        let quoted = format!("publish to \"{subject}\"").to_ascii_lowercase();
        texts.iter().any(|text| text.contains(&quoted))
    }

    /// Whether we may not hear answers.
    fn deaf(&self) -> bool {
        self.texts().iter().any(|text| text.contains("subscription to \"_inbox"))
    }
}
