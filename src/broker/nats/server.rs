//! Where the server is, and how to get in.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ReconnectToServer, ServerAddr};
use rustls::ClientConfig;
use tokio::sync::Notify;

use crate::broker::tls;
use crate::{Error, Result};

/// A NATS server or cluster, and how to get in: what all of this module connect with.
///
/// The address is a URL such as `nats://10.0.0.5:4222`, or several with commas between them; `tls://` asks for TLS. A user and
/// password may stand in it (`nats://user:password@host`), or a token (`nats://token@host`).
///
/// ```
/// use appmon::broker::nats::Server;
///
/// # fn main() -> appmon::Result<()> {
/// let server = Server::new("tls://nats-1.example.com,tls://nats-2.example.com").user_and_password("appmon", "secret");
/// assert_eq!(server.to_string(), "tls://nats-1.example.com:4222,tls://nats-2.example.com:4222");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a server does nothing until something connects to it"]
pub struct Server {
    url: Arc<str>,
    auth: Auth,
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
    name: Arc<str>,
}

/// How to get in.
#[derive(Clone)]
enum Auth {
    /// As the URL says.
    Url,
    User(Arc<str>, Arc<str>),
    Token(Arc<str>),
    NKey(Arc<str>),
    Credentials(Arc<str>),
    CredentialsFile(Arc<Path>),
}

impl Server {
    /// The server at this URL, with the defaults the methods below tell. Whether it is one is seen when it is used.
    pub fn new(url: impl Into<Arc<str>>) -> Self {
        Self { url: url.into(), auth: Auth::Url, tls: None, timeout: Duration::from_secs(5), name: "appmon".into() }
    }

    /// Gets in with a user and a password. Default: what the URL says, or nothing.
    pub fn user_and_password(mut self, user: impl Into<Arc<str>>, password: impl Into<Arc<str>>) -> Self {
        self.auth = Auth::User(user.into(), password.into());
        self
    }

    /// Gets in with a token. Default: what the URL says, or nothing.
    pub fn token(mut self, token: impl Into<Arc<str>>) -> Self {
        self.auth = Auth::Token(token.into());
        self
    }

    /// Gets in with a key: the seed of an NKey, `SU…`. Default: what the URL says, or nothing.
    pub fn nkey(mut self, seed: impl Into<Arc<str>>) -> Self {
        self.auth = Auth::NKey(seed.into());
        self
    }

    /// Gets in with the text of a credentials file (`.creds`): a JWT and the seed of its key. Default: what the URL says, or
    /// nothing.
    pub fn credentials(mut self, text: impl Into<Arc<str>>) -> Self {
        self.auth = Auth::Credentials(text.into());
        self
    }

    /// The same with the file itself, which is read when it is used first. Default: what the URL says, or nothing.
    pub fn credentials_file(mut self, path: impl AsRef<Path>) -> Self {
        self.auth = Auth::CredentialsFile(path.as_ref().into());
        self
    }

    /// Uses TLS with this configuration, whose client certificate may be what gets in. Default: no TLS; for `tls://` the
    /// certificates the system trusts, and no client certificate.
    pub fn tls(mut self, config: impl Into<Arc<ClientConfig>>) -> Self {
        self.tls = Some(config.into());
        self
    }

    /// How long the server may take to answer: to a connection, a message, a question. Default: 5 s.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// What the connection is called in the server's lists of them. Default: `appmon`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Checks all of it.
    pub(super) fn open(&self) -> Result<Opened> {
        let addresses = self.addresses()?;
        let options = self.authenticated(addresses.first())?;
        let wants_tls = self.tls.is_some() || addresses.iter().any(ServerAddr::tls_required);
        let tls = match &self.tls {
            Some(config) => ClientConfig::clone(config),
            None if wants_tls => tls::of_system()?,
            // A server that asks for TLS by itself is one that is not trusted.
            None => tls::config(rustls::RootCertStore::empty())?,
        };
        let options = options
            .name(&*self.name)
            .tls_client_config(tls)
            .require_tls(wants_tls)
            .connection_timeout(self.timeout)
            .request_timeout(Some(self.timeout))
            // A connection that nothing comes through is seen to be broken within three of these.
            .ping_interval(Duration::from_secs(10).min(self.timeout.max(Duration::from_secs(1))))
            .ignore_discovered_servers()
            .retain_servers_order();
        let dead = "nats://127.0.0.1:0".parse().map_err(|_| Error::config("no address of nothing"))?;
        Ok(Opened {
            name: self.to_string().into(),
            addresses: addresses.into(),
            next: Arc::default(),
            dead,
            options,
            timeout: self.timeout,
        })
    }

    fn addresses(&self) -> Result<Vec<ServerAddr>> {
        let wrong = |what: &str| Error::config(format!("NATS address {self}: {what}"));
        let mut addresses = Vec::new();
        for url in self.url.split(',') {
            let address: ServerAddr = url.trim().parse().map_err(|_| wrong("it is no nats:// or tls:// URL"))?;
            if address.is_websocket() {
                return Err(wrong("WebSockets are not supported, use nats:// or tls://"));
            }
            if address.host().is_empty() || address.port() == 0 {
                return Err(wrong("it has no host, or no port"));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }

    fn authenticated(&self, address: Option<&ServerAddr>) -> Result<ConnectOptions> {
        let options = ConnectOptions::new();
        let wrong = |what: &str| Error::config(format!("NATS credentials for {self}: {what}"));
        let of_text = |options: ConnectOptions, text: &str| {
            // The cause could quote them.
            options.credentials(text).map_err(|_| wrong("they are not those of a .creds file"))
        };
        Ok(match &self.auth {
            Auth::User(user, password) => options.user_and_password(user.to_string(), password.to_string()),
            Auth::Token(token) => options.token(token.to_string()),
            Auth::NKey(seed) => {
                if !seed.starts_with("SU") || seed.len() != 58 {
                    return Err(wrong("the seed of a user's NKey has 58 characters and begins with SU"));
                }
                options.nkey(seed.to_string())
            }
            Auth::Credentials(text) => of_text(options, text)?,
            Auth::CredentialsFile(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| wrong(&error.to_string()).at(path))?;
                of_text(options, &text).map_err(|error| error.at(path))?
            }
            Auth::Url => {
                let user = address.and_then(ServerAddr::username).map(unescaped);
                let password = address.and_then(ServerAddr::password).map(unescaped);
                match (user, password) {
                    (Some(user), Some(password)) => options.user_and_password(user, password),
                    (Some(token), None) => options.token(token),
                    (None, _) => options,
                }
            }
        })
    }
}

impl From<&str> for Server {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<String> for Server {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

/// The address, without what gets in.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, url) in self.url.split(',').enumerate() {
            let separator = if index > 0 { "," } else { "" };
            match url.trim().parse::<ServerAddr>() {
                Ok(address) if address.host().contains(':') => {
                    write!(f, "{separator}{}://[{}]:{}", address.scheme(), address.host(), address.port())?;
                }
                Ok(address) => {
                    write!(f, "{separator}{}://{}:{}", address.scheme(), address.host(), address.port())?;
                }
                // Whatever it is, it could have a password in it.
                Err(_) => write!(f, "{separator}(no URL)")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let auth = match self.auth {
            Auth::Url => "as in the URL",
            Auth::User(..) => "user and password",
            Auth::Token(_) => "token",
            Auth::NKey(_) => "NKey",
            Auth::Credentials(_) | Auth::CredentialsFile(_) => "credentials",
        };
        f.debug_struct("Server")
            .field("url", &format_args!("{self}"))
            .field("auth", &auth)
            .field("tls", &self.tls.is_some())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Percent-escapes of a URL undone.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A server that was checked, to be connected to again and again.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) name: Arc<str>,
    addresses: Arc<[ServerAddr]>,
    /// Which of the addresses comes next.
    next: Arc<AtomicUsize>,
    dead: ServerAddr,
    options: ConnectOptions,
    pub(super) timeout: Duration,
}

impl Opened {
    /// Connects once, to the next of the addresses if the last one failed.
    pub(super) async fn connect(&self) -> Result<Link> {
        let at = self.next.load(Ordering::Relaxed);
        let index = at.checked_rem(self.addresses.len()).unwrap_or(0);
        let Some(address) = self.addresses.get(index) else { return Err(Error::config("no address")) };
        let result = tokio::time::timeout(self.timeout, self.connect_to(address)).await;
        let failed = match result {
            Ok(Ok(link)) => return Ok(link),
            Ok(Err(error)) => refused(&self.name, error),
            Err(_) => Error::broker(format!("{}: no answer within {:?}", self.name, self.timeout)),
        };
        self.next.store(at.wrapping_add(1), Ordering::Relaxed);
        Err(failed)
    }

    async fn connect_to(&self, address: &ServerAddr) -> std::result::Result<Link, async_nats::ConnectError> {
        // The client would connect again by itself and go on with what it holds, and so send what is later over a new connection
        // while what is earlier was lost with the old one. It has no switch for that. So after the first connection it is told to
        // go to where nobody ever answers, once: then it gives up, and we make a connection when it is time.
        let first = AtomicUsize::new(0);
        let (address, dead) = (address.clone(), self.dead.clone());
        let pool = vec![address.clone(), dead.clone()];
        let errors = Arc::new(Errors::default());
        let heard = Arc::clone(&errors);
        let options = self
            .options
            .clone()
            .max_reconnects(1)
            .reconnect_to_server_callback(move |_, _| {
                let addr = if first.fetch_add(1, Ordering::Relaxed) == 0 { address.clone() } else { dead.clone() };
                async move { Some(ReconnectToServer { addr, delay: Some(Duration::ZERO) }) }
            })
            .event_callback(move |event| {
                if let Event::ServerError(error) = event {
                    heard.push(error.to_string());
                }
                std::future::ready(())
            });
        Ok(Link { client: options.connect(pool).await?, errors })
    }
}

/// Why there is no connection, and what to do about it.
fn refused(name: &str, error: async_nats::ConnectError) -> Error {
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
    Error::broker_because(format!("{name}: {what}{cause}"), error)
}

/// A connection, which never becomes another one by itself.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) errors: Arc<Errors>,
}

impl Link {
    /// Whether it was not seen to be broken.
    pub(super) fn is_alive(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Waits until the server has seen all that was sent before: it answers that nobody listens to a subject of our own.
    pub(super) async fn round_trip(&self, name: &str, timeout: Duration) -> Result<()> {
        let nobody = self.client.new_inbox();
        let request = async_nats::Request::new().payload(bytes::Bytes::new()).timeout(Some(timeout));
        let answer = self.client.send_request(nobody.clone(), request);
        let refused = async {
            loop {
                let changed = self.errors.changed.notified();
                if self.errors.denied(&nobody) {
                    return;
                }
                changed.await;
            }
        };
        tokio::select! {
            answer = answer => match answer {
                Ok(_) => Ok(()),
                Err(error) if error.kind() == async_nats::RequestErrorKind::NoResponders => Ok(()),
                Err(error) => Err(Error::broker_because(format!("{name}: no answer: {error}"), error)),
            },
            // To be told so is an answer too.
            () = refused => Ok(()),
        }
    }
}

/// What the server complained about on this connection.
#[derive(Debug, Default)]
pub(super) struct Errors {
    texts: Mutex<Vec<String>>,
    pub(super) changed: Notify,
}

/// More complaints than this are of no use.
const MOST_ERRORS: usize = 64;

impl Errors {
    fn push(&self, text: String) {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.len() < MOST_ERRORS && !texts.contains(&text) {
            texts.push(text);
        }
        drop(texts);
        self.changed.notify_waiters();
    }

    /// Whether publishing to this subject is not permitted.
    pub(super) fn denied(&self, subject: &str) -> bool {
        let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.is_empty() {
            return false;
        }
        let quoted = format!("publish to \"{subject}\"").to_ascii_lowercase();
        texts.iter().any(|text| text.to_ascii_lowercase().contains(&quoted))
    }

    /// The last of them, to be told with what failed.
    pub(super) fn last(&self) -> Option<String> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let secret = "nats://me:s%3Acret@10.0.0.5:4223";
        let server = Server::new(secret);
        assert_eq!(server.to_string(), "nats://10.0.0.5:4223");
        for server in [
            server,
            Server::new("10.0.0.5").user_and_password("me", "s:cret").token("s:cret"),
            Server::new("nats://s:cret@/"),
        ] {
            let shown = format!("{server:?} {server} {:?}", server.open().map(|opened| opened.name));
            assert!(!shown.contains("cret"), "{shown}");
        }
        assert_eq!(unescaped("s%3Acret%2"), "s:cret%2");
        assert_eq!(Server::new("tls://[::1]").to_string(), "tls://[::1]:4222");
    }

    #[test]
    fn what_is_wrong_is_told_at_once() {
        for url in ["", "http://x", "nats://", "nats://x:0", "ws://x", "nats://x,", "nats://x:99999"] {
            assert!(Server::new(url).open().unwrap_err().is_config(), "{url}");
        }
        let server = || Server::new("nats://127.0.0.1");
        assert!(server().nkey("x").open().unwrap_err().is_config());
        assert!(server().credentials("x").open().unwrap_err().is_config());
        let error = server().credentials_file("/no/such/file").open().unwrap_err();
        assert!(error.is_config() && error.to_string().contains("/no/such/file"), "{error}");
    }
}
