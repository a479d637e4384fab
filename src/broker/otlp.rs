//! Receivers of OTLP, the protocol of OpenTelemetry, over HTTP: the collector, and the many systems that have one.
//!
//! ```no_run
//! # fn forward() -> appmon::Result<()> {
//! use appmon::broker::otlp::Http;
//! use appmon::forward::Forwarder;
//!
//! let receiver = Http::new("http://127.0.0.1:4318")?;
//! let forwarder = Forwarder::new(receiver).spool("spool.redb", 64 << 20);
//! # Ok(())
//! # }
//! ```
//!
//! A forwarder to it encodes with [`Codec::Otlp`], which describes what the metrics and records are. Each message is one request in
//! protobuf, `POST /v1/metrics` or `/v1/logs`.
//!
//! # Durability of acknowledged messages
//!
//! The receiver's own. A collector by default has accepted what is in its memory.
//!
//! # Duplicates
//!
//! OTLP has no ids of messages. What is sent again after a lost answer has the same time stamps, so that receivers which store points by
//! series and time store them once; records of logs can be stored twice.

mod answer;
mod headers;
mod retry_after;

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::FutureExt;
use futures::future::{BoxFuture, Either, Fuse, FusedFuture, select};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;

use self::answer::Answer;
use self::headers::{Headers, Value};
use crate::broker::blocking::blocking;
use crate::broker::link::{Cause, Connect, Fault, Link, Reply, Session, Turn, publish_by_link};
use crate::broker::socket::{self, Cut};
use crate::broker::tls::Tls;
use crate::broker::url::{self, Form, Scheme, Url};
use crate::forward::{Codec, Form as MessageForm, Message};
use crate::{Error, Result};

/// Publishes to receivers of OTLP over HTTP.
///
/// Each message is a request of its own, and waits for the answer to the one before.
///
/// | outcome | when |
/// |---|---|
/// | accepted | 2xx |
/// | partly | 2xx that says how many data points or records were rejected; not sent again |
/// | retry | no connection; 429, 502, 503 and 504, after `Retry-After` if that is there; 401, 403, 404, 405, 415, a redirection and others that an administrator can mend |
/// | unknown | the connection ended, or the time was over, before the answer; 500 and other 5xx |
/// | rejected | 400 and 422; a message in another codec |
/// | too large | 413; the message is sent again in pieces |
#[derive(Clone)]
pub struct Http {
    link: Link<Connector>,
}

publish_by_link!(Http, "1, and more makes no difference", Some(Codec::Otlp));

const FORM: Form = Form {
    broker: "an OTLP receiver",
    schemes: &[Scheme { name: "http", tls: false, port: 80 }, Scheme { name: "https", tls: true, port: 443 }],
    bare: false,
};

/// A larger answer is not read to its end.
const MOST_ANSWER: usize = 64 << 10;

/// A smaller payload is compressed at once, and a larger one on another thread: 1 ms or so.
const COMPRESSED_HERE: usize = 32 << 10;

impl Http {
    /// Returns a publisher to the receiver at this URL, `http://[USER:PASSWORD@]HOST[:PORT][/PATH]`, or `https://`; or to the first of
    /// several, separated by commas, that can be reached and accepts messages.
    ///
    /// The port of a collector is 4318; without one it is 80 or 443. `/v1/metrics` or `/v1/logs` is added to the path. User and password
    /// are sent by HTTP's basic authentication. It does not connect yet, so the receiver may start later.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) when the URL is wrong.
    pub fn new(url: impl AsRef<str>) -> Result<Self> {
        let servers = FORM.read(url.as_ref())?.into_iter().map(Server::new).collect::<Result<_>>()?;
        let connect = Connector { servers, tls: Tls::default(), headers: Headers::default(), gzip: true };
        Ok(Self { link: Link::new(connect, 1) })
    }

    /// Sets the TLS configuration of a `https://` URL: the trusted roots, and the client certificate if the server requires
    /// one. Default: the system's root certificates and no client certificate. One for a URL without TLS is reported at its first use
    /// ([`Publish::validate`](crate::forward::Publish::validate)).
    #[must_use]
    pub fn tls(mut self, config: impl Into<Arc<ClientConfig>>) -> Self {
        self.link.configure("tls", |connect| {
            url::wants_tls(connect.servers.iter().map(|server| &server.url))?;
            connect.tls.set(config.into());
            Ok(())
        });
        self
    }

    /// Adds a header to each request: `x-scope-orgid`, `api-key`. Its value is shown nowhere. An invalid name or value is reported at its
    /// first use ([`Publish::validate`](crate::forward::Publish::validate)).
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.with_header(name, Value::Text(value.to_owned()))
    }

    /// Adds a header whose value is in an environment variable, read at each new connection.
    #[must_use]
    pub fn header_from_env(self, name: &str, variable: &str) -> Self {
        self.with_header(name, Value::Env(variable.to_owned()))
    }

    /// Adds a header whose value is the content of a file, without white space at its ends. It is read at each new connection, so it can
    /// be replaced.
    #[must_use]
    pub fn header_from_file(self, name: &str, path: impl Into<PathBuf>) -> Self {
        self.with_header(name, Value::File { before: "", path: path.into() })
    }

    /// Adds the header `authorization: Bearer TOKEN`; the token is the content of a file, as by
    /// [`header_from_file`](Self::header_from_file).
    #[must_use]
    pub fn bearer_from_file(self, path: impl Into<PathBuf>) -> Self {
        self.with_header("authorization", Value::File { before: "Bearer ", path: path.into() })
    }

    fn with_header(mut self, name: &str, value: Value) -> Self {
        self.link.configure("header", |connect| connect.headers.add(name, value));
        self
    }

    /// Sets whether requests are compressed with gzip, which makes them about a tenth. Default: yes.
    #[must_use]
    pub fn gzip(mut self, gzip: bool) -> Self {
        self.link.connect.gzip = gzip;
        self
    }
}

#[derive(Clone)]
struct Server {
    url: Url,
    metrics: PathAndQuery,
    logs: PathAndQuery,
}

impl Server {
    fn new(url: Url) -> Result<Self> {
        if url.query.is_some() {
            return Err(FORM.wrong("it has a ?, and a path alone can be added to"));
        }
        let path = |end: &str| {
            let base = url.path.as_deref().unwrap_or_default().trim_end_matches('/');
            let separator = if base.is_empty() { "" } else { "/" };
            let path = format!("{separator}{base}{end}");
            PathAndQuery::try_from(path).map_err(|_| FORM.wrong("its path has a character that no path has"))
        };
        Ok(Self { metrics: path(METRICS)?, logs: path(LOGS)?, url })
    }

    fn path(&self, form: MessageForm) -> &PathAndQuery {
        match form {
            MessageForm::Snapshot | MessageForm::Delta => &self.metrics,
            MessageForm::Samples => &self.logs,
        }
    }
}

const METRICS: &str = "/v1/metrics";
const LOGS: &str = "/v1/logs";

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.url, f)
    }
}

#[derive(Clone)]
struct Connector {
    servers: Vec<Server>,
    tls: Tls,
    headers: Headers,
    gzip: bool,
}

impl Connector {
    async fn open(&self, server: &Server) -> Result<Connection, Cause> {
        let headers = self.headers.clone();
        let read = blocking(move || headers.read()).await?;
        let opened = Connection::open(server, &self.tls, read).await;
        opened.inspect_err(|_| self.tls.forget())
    }

    async fn body(&self, payload: &Bytes) -> Result<Bytes> {
        let payload = payload.clone();
        match (self.gzip, payload.len() > COMPRESSED_HERE) {
            (false, _) => Ok(payload),
            (true, false) => Ok(compressed(&payload)?.into()),
            (true, true) => blocking(move || Ok(compressed(&payload)?.into())).await,
        }
    }
}

fn compressed(payload: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(payload.len() / 4), Compression::fast());
    encoder.write_all(payload).and_then(|()| encoder.finish()).map_err(Error::io)
}

impl Connect for Connector {
    type Server = Server;
    type Session = Connection;

    fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Asks the receiver by a request with nothing in it, which all must accept.
    async fn connect(&self, server: &Server) -> Result<Connection, Cause> {
        let mut connection = self.open(server).await?;
        let answer = connection.post(MessageForm::Snapshot, Bytes::new(), false).await?;
        answer.refuses_connection().map_or(Ok(connection), Err)
    }

    async fn send(&self, connection: &mut Connection, turn: &mut Turn<'_>) -> Result<(), Cause> {
        for (at, message) in turn.messages().into_iter().enumerate() {
            // Receivers may close a connection after any answer.
            if !connection.is_open() {
                match self.open(&connection.server).await {
                    Ok(again) => *connection = again,
                    Err(cause) => {
                        turn.settle(at, Reply::Refused(Fault::Server, cause));
                        return Ok(());
                    }
                }
            }
            let body = self.body(&message.payload).await?;
            let answer = connection.post(message.form, body, self.gzip).await?;
            let reply = answer.reply(message)?;
            let goes_on = matches!(reply, Reply::Accepted | Reply::Partly(..));
            turn.settle(at, reply);
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    fn place(&self, message: &Message) -> String {
        match message.form {
            MessageForm::Snapshot | MessageForm::Delta => METRICS.to_owned(),
            MessageForm::Samples => LOGS.to_owned(),
        }
    }

    fn places(&self) -> String {
        format!("{METRICS},{LOGS}")
    }

    fn refuse(&self, message: &Message) -> Option<Cause> {
        let why = || format!("it is {}; a receiver of OTLP needs the codec {}", message.codec, Codec::Otlp);
        (message.codec != Codec::Otlp).then(|| why().into())
    }

    fn one_by_one(&self) -> bool {
        true
    }
}

/// A connection that never reconnects by itself.
struct Connection {
    server: Server,
    headers: HeaderMap,
    requests: SendRequest<Full<Bytes>>,
    /// The driver of the connection. It is polled together with each request, and so needs no task of its own.
    driver: Fuse<BoxFuture<'static, ()>>,
    _cut: Cut,
}

impl Connection {
    async fn open(server: &Server, tls: &Tls, mut headers: HeaderMap) -> Result<Self, Cause> {
        let url = &server.url;
        headers::add_own(&mut headers, url)?;
        let (socket, cut) = socket::connect(url, tls).await?;
        let (requests, driver) = handshake(TokioIo::new(socket)).await.map_err(lost)?;
        let driver = driver.map(|_| ()).boxed().fuse();
        Ok(Self { server: server.clone(), headers, requests, driver, _cut: cut })
    }

    async fn post(&mut self, form: MessageForm, body: Bytes, gzip: bool) -> Result<Answer, Cause> {
        let length = HeaderValue::from(body.len());
        let mut request = Request::post(self.server.path(form).clone()).body(Full::new(body)).map_err(lost)?;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        // hyper leaves it out where the body is empty, and receivers may insist on it.
        headers.insert(CONTENT_LENGTH, length);
        headers.insert(CONTENT_TYPE, headers::PROTOBUF);
        if gzip {
            headers.insert(CONTENT_ENCODING, headers::GZIP);
        }
        driven(&mut self.driver, self.requests.ready()).await.map_err(lost)?;
        let response = driven(&mut self.driver, self.requests.send_request(request)).await.map_err(lost)?;
        let (head, body) = response.into_parts();
        // The status decides; a text that is too long, or ends early, is none.
        let body = driven(&mut self.driver, Limited::new(body, MOST_ANSWER).collect()).await;
        Ok(Answer::new(&head, body.map(http_body_util::Collected::to_bytes).unwrap_or_default()))
    }
}

/// Polls the connection until the future is ready.
async fn driven<F: Future>(driver: &mut Fuse<BoxFuture<'static, ()>>, future: F) -> F::Output {
    match select(std::pin::pin!(future), driver).await {
        Either::Left((output, _)) => output,
        // The connection has ended. What came before is in the future already.
        Either::Right(((), future)) => future.await,
    }
}

fn lost(cause: impl std::error::Error + Send + Sync + 'static) -> Cause {
    Cause::of(format!("the connection ended before the answer: {cause}"), cause)
}

impl Session for Connection {
    fn is_open(&mut self) -> bool {
        let _ = (&mut self.driver).now_or_never();
        !self.driver.is_terminated()
    }

    async fn close(self) {}
}
