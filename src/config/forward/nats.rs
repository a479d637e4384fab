//! Settings of NATS.

use std::path::PathBuf;

use super::common::Common;
use super::secret;
use crate::Result;
use crate::broker::nats::{Core, JetStream, Server};
use crate::config::keys::{settings, wrong};
use crate::forward::BoxPublish;

settings! {
    /// The settings of NATS alone.
    #[derive(Default)]
    pub struct NatsConfig {
        required {}
        optional {
            /// Whether messages are published without being stored, by [`Core`] instead of [`JetStream`]: at most once.
            core: bool,
            /// The subjects: [`JetStream::subject`].
            subject: Option<String>,
            /// The name of the connection: [`Server::name`].
            name: Option<String>,
            /// The file that has a token: [`Server::token`].
            token_file: Option<PathBuf>,
            /// The environment variable that has a token.
            token_env: Option<String>,
            /// The file that has the seed of an NKey: [`Server::nkey`].
            nkey_file: Option<PathBuf>,
            /// The environment variable that has the seed of an NKey.
            nkey_env: Option<String>,
            /// The credentials file (`.creds`), which is read for each connection: [`Server::credentials_file`].
            credentials_file: Option<PathBuf>,
            /// The environment variable that has the text of a credentials file: [`Server::credentials`].
            credentials_env: Option<String>,
        }
    }
}

impl NatsConfig {
    pub(super) fn broker(&self, common: Common<'_>, url: &str) -> Result<BoxPublish> {
        let Self { core, subject, name, token_file, token_env, nkey_file, nkey_env, credentials_file, credentials_env } =
            self;
        let mut server = Server::new(url);
        let mut credentials = usize::from(common.has_password);
        if let Some(token) = secret::read("nats.token", token_file.as_deref(), token_env.as_deref())? {
            credentials = credentials.saturating_add(1);
            server = server.token(token);
        }
        if let Some(seed) = secret::read("nats.nkey", nkey_file.as_deref(), nkey_env.as_deref())? {
            credentials = credentials.saturating_add(1);
            server = server.nkey(seed);
        }
        if let Some(text) = secret::read("nats.credentials", None, credentials_env.as_deref())? {
            credentials = credentials.saturating_add(1);
            server = server.credentials(text);
        }
        if let Some(path) = credentials_file {
            credentials = credentials.saturating_add(1);
            server = server.credentials_file(path);
        }
        if credentials > 1 {
            return Err(wrong("nats", "there are several kinds of credentials: give one"));
        }
        if credentials == 0 && common.has_user {
            return Err(wrong("user", "it has no password: give one by password_file or password_env"));
        }
        if let Some(name) = name {
            server = server.name(name.as_str());
        }
        if let Some(timeout) = common.timeout {
            server = server.timeout(timeout.get());
        }
        if let Some(tls) = common.tls {
            server = server.tls(tls.build()?);
        }
        if *core {
            let mut broker = Core::new(server)?;
            if let Some(subject) = subject {
                broker = broker.subject(subject);
            }
            if let Some(messages) = common.in_flight {
                broker = broker.in_flight(messages);
            }
            return Ok(BoxPublish::new(broker));
        }
        let mut broker = JetStream::new(server)?;
        if let Some(subject) = subject {
            broker = broker.subject(subject);
        }
        if let Some(messages) = common.in_flight {
            broker = broker.in_flight(messages);
        }
        Ok(BoxPublish::new(broker))
    }
}
