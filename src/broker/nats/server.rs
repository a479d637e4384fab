//! The address and credentials of servers.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::ConnectOptions;
use rustls::ClientConfig;

use super::line::{Line, NO_TIMEOUT, open};
use crate::broker::blocking::blocking;
use crate::broker::link::Cause;
use crate::broker::tls::{self, Tls};
use crate::broker::url::{self, Form, Scheme, Url};
use crate::{Error, Result};

/// The address and credentials of a NATS server or cluster, for the publishers and consumers of this module.
///
/// The address is a URL such as `nats://10.0.0.5:4222`, or several with commas between them, of which another one is taken when one
/// fails; `tls://` asks for TLS. A user and password may stand in each (`nats://user:password@host`), or a token
/// (`nats://token@host`).
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
    tls: Tls,
    timeout: Duration,
    name: Arc<str>,
}

/// The kinds of credentials.
#[derive(Clone)]
enum Auth {
    /// Those in the URL, if any.
    Url,
    User(Arc<str>, Arc<str>),
    Token(Arc<str>),
    NKey(Arc<str>),
    Credentials(Arc<str>),
    CredentialsFile(Arc<Path>),
}

impl Server {
    /// Returns the server at this URL, with the defaults documented at the methods below. The URL is checked at its first use.
    pub fn new(url: impl Into<Arc<str>>) -> Self {
        Self {
            url: url.into(),
            auth: Auth::Url,
            tls: Tls::default(),
            timeout: Duration::from_secs(5),
            name: "appmon".into(),
        }
    }

    /// Authenticates with a user and a password. Default: those in the URL, or none.
    pub fn user_and_password(mut self, user: impl Into<Arc<str>>, password: impl Into<Arc<str>>) -> Self {
        self.auth = Auth::User(user.into(), password.into());
        self
    }

    /// Authenticates with a token. Default: that in the URL, or none.
    pub fn token(mut self, token: impl Into<Arc<str>>) -> Self {
        self.auth = Auth::Token(token.into());
        self
    }

    /// Authenticates with a key: the seed of an NKey, `SU…`. Default: none.
    pub fn nkey(mut self, seed: impl Into<Arc<str>>) -> Self {
        self.auth = Auth::NKey(seed.into());
        self
    }

    /// Authenticates with the text of a credentials file (`.creds`): a JWT and the seed of its key. Default: none.
    pub fn credentials(mut self, text: impl Into<Arc<str>>) -> Self {
        self.auth = Auth::Credentials(text.into());
        self
    }

    /// Authenticates with a credentials file, which is read for each connection. Default: none.
    pub fn credentials_file(mut self, path: impl AsRef<Path>) -> Self {
        self.auth = Auth::CredentialsFile(path.as_ref().into());
        self
    }

    /// Uses TLS with this configuration, whose client certificate can serve as credentials. Default: no TLS; for `tls://` the
    /// certificates the system trusts, and no client certificate.
    pub fn tls(mut self, config: impl Into<Arc<ClientConfig>>) -> Self {
        self.tls.set(config.into());
        self
    }

    /// Sets the timeout of each answer of the server: to a connection, a message, a request. Default: 5 s.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// Sets the name of the connection in the server's lists. Default: `appmon`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Checks the settings, except for the content of files.
    pub(super) fn check(&self) -> Result<Dialer> {
        let urls = FORM.read(&self.url)?;
        if urls.iter().any(|url| url.path.as_deref().is_some_and(|path| !path.is_empty()) || url.query.is_some()) {
            return Err(FORM.wrong("it has a path or query, which have no meaning here"));
        }
        let wrong = |what: &str| Err(Error::config(format!("NATS credentials for {self}: {what}")));
        match &self.auth {
            Auth::NKey(seed) if !seed.starts_with("SU") || seed.len() != 58 => {
                return wrong("the seed of a user's NKey has 58 characters and begins with SU");
            }
            // The cause could quote them.
            Auth::Credentials(text) if ConnectOptions::new().credentials(text).is_err() => {
                return wrong(NO_CREDENTIALS);
            }
            _ => {}
        }
        Ok(Dialer { server: self.clone(), urls: urls.into() })
    }

    async fn authenticated(&self, url: &Url) -> Result<ConnectOptions, Cause> {
        let options = ConnectOptions::new();
        // The cause could quote them.
        let of_text = |options: ConnectOptions, text: &str| options.credentials(text).map_err(|_| NO_CREDENTIALS);
        Ok(match &self.auth {
            Auth::User(user, password) => options.user_and_password(user.to_string(), password.to_string()),
            Auth::Token(token) => options.token(token.to_string()),
            Auth::NKey(seed) => options.nkey(seed.to_string()),
            Auth::Credentials(text) => of_text(options, text)?,
            Auth::CredentialsFile(path) => {
                let read = Arc::clone(path);
                let text = blocking(move || std::fs::read_to_string(&read).map_err(|error| Error::io(error).at(&read)));
                of_text(options, &text.await?).map_err(|why| format!("{}: {why}", path.display()))?
            }
            Auth::Url => match (url.user.clone(), url.password.clone()) {
                (Some(user), Some(password)) => options.user_and_password(user, password),
                (Some(token), None) => options.token(token),
                (None, _) => options,
            },
        })
    }
}

const FORM: Form = Form {
    broker: "a NATS server",
    schemes: &[Scheme { name: "nats", tls: false, port: 4222 }, Scheme { name: "tls", tls: true, port: 4222 }],
    bare: true,
};

const NO_CREDENTIALS: &str = "they are not those of a .creds file";

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

/// Formats the address, without credentials.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match FORM.read(&self.url) {
            Ok(urls) => f.write_str(&url::list(&urls)),
            // An invalid URL could contain a password.
            Err(_) => f.write_str("(no URL)"),
        }
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
            .field("tls", &self.tls.is_set())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Checked servers, for repeated connections.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    server: Server,
    urls: Arc<[Url]>,
}

impl Dialer {
    pub(super) fn urls(&self) -> &[Url] {
        &self.urls
    }

    pub(super) fn timeout(&self) -> Duration {
        self.server.timeout
    }

    /// Returns all addresses, for people.
    pub(super) fn names(&self) -> String {
        url::list(&*self.urls)
    }

    /// Connects to a server, and waits for its answer. The caller has the timeout.
    pub(super) async fn connect(&self, url: &Url) -> Result<Line, Cause> {
        let options = self.server.authenticated(url).await?;
        let wants_tls = url.scheme.tls || self.server.tls.is_set();
        let tls = match wants_tls {
            true => ClientConfig::clone(&*self.server.tls.config().await?),
            // A server that asks for TLS by itself is one that is not trusted.
            false => tls::with_roots(rustls::RootCertStore::empty())?,
        };
        let options = options
            .name(&*self.server.name)
            .tls_client_config(tls)
            .require_tls(wants_tls)
            .connection_timeout(NO_TIMEOUT)
            .request_timeout(Some(NO_TIMEOUT))
            // A connection that nothing comes through is seen to be broken within three of these.
            .ping_interval(Duration::from_secs(10).min(self.server.timeout.max(Duration::from_secs(1))))
            .ignore_discovered_servers()
            .retain_servers_order();
        let line = open(url, options).await.inspect_err(|_| self.server.tls.forget())?;
        line.round_trip().await?;
        Ok(line)
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
            let shown = format!("{server:?} {server} {:?}", server.check());
            assert!(!shown.contains("cret"), "{shown}");
        }
        assert_eq!(Server::new("tls://[::1]").to_string(), "tls://[::1]:4222");
    }

    #[test]
    fn wrong_settings_are_reported_at_once() {
        for url in ["", "http://x", "nats://", "nats://x:0", "ws://x", "nats://x,", "nats://x:99999"] {
            assert!(Server::new(url).check().unwrap_err().is_config(), "{url}");
        }
        let server = || Server::new("nats://127.0.0.1");
        assert!(server().nkey("x").check().unwrap_err().is_config());
        assert!(server().credentials("x").check().unwrap_err().is_config());
    }

    #[tokio::test]
    async fn a_file_is_named_that_is_not_there() {
        let dialer = Server::new("nats://127.0.0.1").credentials_file("/no/such/file").check().unwrap();
        let cause = dialer.connect(&dialer.urls()[0]).await.map(drop).unwrap_err();
        assert!(format!("{cause:?}").contains("/no/such/file"), "{cause:?}");
    }
}
