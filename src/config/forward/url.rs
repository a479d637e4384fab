//! URLs without secrets.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Result;
use crate::config::keys::wrong;
use crate::text::percent_encoded;

/// The URL of a broker without a password: one, or several with commas between them.
///
/// A password in it is not kept, and such a URL is refused by [`ForwardConfig::build`](super::ForwardConfig::build) and not written by
/// serde. It is no error of reading, since errors of file formats quote the line.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// The text; only the scheme if there was a secret.
    text: String,
    secret: Option<&'static str>,
}

const PASSWORD: &str =
    "it has a password, or a `:` or `@` that looks like one: give the password by password_file or password_env";
const NATS_LOGIN: &str =
    "a user in it means a token for NATS: give a user by `user`, and a token by nats.token_file or nats.token_env";

impl Url {
    fn new(text: &str) -> Self {
        let secret = secret_in(text);
        let text = match (secret, text.split_once("://")) {
            (Some(_), Some((scheme, _))) => format!("{scheme}://"),
            (Some(_), None) => String::new(),
            (None, _) => text.trim().to_owned(),
        };
        Self { text, secret }
    }

    /// The scheme, in lower case.
    pub(super) fn scheme(&self) -> Result<&str> {
        if let Some(why) = self.secret {
            return Err(wrong("url", why));
        }
        let scheme = self.text.split_once("://").map(|(scheme, _)| scheme);
        let scheme = scheme.filter(|scheme| {
            !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        });
        scheme.ok_or_else(|| wrong("url", "it begins with a scheme in lower case, such as nats://"))
    }

    /// The text with this user and password in each server that does not take those of the one before.
    pub(super) fn with_login(&self, user: Option<&str>, password: Option<&str>) -> Result<String> {
        if user.is_none() && password.is_none() {
            return Ok(self.text.clone());
        }
        let mut servers = Vec::new();
        for server in self.text.split(',') {
            let Some((scheme, rest)) = server.split_once("://") else {
                servers.push(server.to_owned());
                continue;
            };
            let (own, rest) = match rest.split_once('@') {
                Some((own, rest)) => (Some(own.to_owned()), rest),
                None => (None, rest),
            };
            if own.is_some() && user.is_some() {
                return Err(wrong("user", "the URL has a user as well"));
            }
            let user = own.or_else(|| user.map(percent_encoded)).unwrap_or_default();
            let password = password.map_or_else(String::new, |password| format!(":{}", percent_encoded(password)));
            servers.push(format!("{scheme}://{user}{password}@{rest}"));
        }
        Ok(servers.join(","))
    }
}

/// The reason why a text may hold a secret.
fn secret_in(text: &str) -> Option<&'static str> {
    let (_, at) = text.split_once("://").unwrap_or(("", text));
    if !at.contains('@') {
        return None;
    }
    let is_nats = text.starts_with("nats:") || text.starts_with("tls:");
    // A password can have commas, so a part without a `@` can be the beginning of one: then it has no port behind its colon.
    let has_password = text.split(',').any(|server| {
        let (_, server) = server.split_once("://").unwrap_or(("", server));
        match server.rsplit_once('@') {
            Some((login, _)) => login.contains(':'),
            None => {
                let address = server.split(['/', '?']).next().unwrap_or_default();
                let port = address.rsplit_once(']').map_or(address, |(_, port)| port);
                port.split_once(':').is_some_and(|(_, port)| !port.bytes().all(|byte| byte.is_ascii_digit()))
            }
        }
    });
    match (has_password, is_nats) {
        (true, _) => Some(PASSWORD),
        (false, true) => Some(NATS_LOGIN),
        (false, false) => None,
    }
}

impl From<&str> for Url {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Url {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

/// Formats it; only the scheme of one that had a password.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Serialize for Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.secret {
            Some(why) => Err(serde::ser::Error::custom(format!("url: {why}"))),
            None => serializer.serialize_str(&self.text),
        }
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Url {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Url".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "The URL of a broker without a password, or several with commas between them.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_kept() {
        for text in [
            "redis://me:s3cret@host",
            "redis://:s3cret@host/0",
            "redis://me:s3/cr?et@host",
            "redis://me:s3,cret@host",
            "redis://a,redis://me:s3cret@host",
            "redis://a:6379,me:s3cret@host",
            "redis://me:s3@cret@host",
            "nats://s3cret@host",
            "tls://s3cret@a,b",
            "me:s3cret@host",
            "kafka://me:s3cret@a:1,b:2/topic",
        ] {
            let url = Url::from(text);
            let error = url.scheme().unwrap_err();
            assert!(error.is_config() && error.to_string().starts_with("url: "), "{text}: {error}");
            let shown = format!("{url} {url:?} {error} {:?}", serde_json::to_string(&url));
            assert!(!shown.contains("s3") && !shown.contains("cret"), "{shown}");
        }
    }

    #[test]
    fn what_has_none_is_kept() {
        for text in [
            "nats://127.0.0.1:4222",
            "redis://me@host:6379/0",
            "amqp://me@[::1]:5672/metrics",
            "amqp://a:1,me@b:2",
            "kafka://a:9092,b:9092/metrics.{kind}",
            "mqtt://a,mqtt://[::1]:1883",
        ] {
            let url: Url = serde_json::from_value(text.into()).unwrap();
            assert_eq!((url.to_string().as_str(), serde_json::to_value(&url).unwrap()), (text, text.into()));
            assert!(url.scheme().is_ok(), "{text}");
        }
        for text in ["127.0.0.1:4222", "NATS://host", "://host", ""] {
            assert!(Url::from(text).scheme().unwrap_err().to_string().contains("such as nats://"), "{text}");
        }
    }

    #[test]
    fn logins_are_put_in() {
        let with = |text: &str, user, password| Url::from(text).with_login(user, password).unwrap();
        assert_eq!(with("redis://a/0", None, Some("p:w@,/")), "redis://:p%3Aw%40%2C%2F@a/0");
        assert_eq!(with("amqp://me@a,b,amqps://c", None, Some("pw")), "amqp://me:pw@a,b,amqps://:pw@c");
        assert_eq!(with("nats://a:1,b", Some("mé"), Some("pw")), "nats://m%C3%A9:pw@a:1,b");
        assert_eq!(with("mqtt://a", Some("me"), None), "mqtt://me@a");
        assert_eq!(with("mqtt://a", None, None), "mqtt://a");
        assert!(Url::from("mqtt://me@a").with_login(Some("you"), None).unwrap_err().is_config());
    }
}
