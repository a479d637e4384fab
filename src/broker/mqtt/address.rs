//! What a URL says of a broker.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::{Error, Result};

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// As it stands in a URL: an IPv6 address is in brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
}

/// Who we are there.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: Option<String>,
}

impl Credentials {
    pub(super) fn new(user: String, password: Option<String>) -> Result<Self> {
        let longest = user.len().max(password.as_ref().map_or(0, String::len));
        if longest > usize::from(u16::MAX) {
            return Err(Error::config("a user or password of MQTT has up to 65,535 bytes"));
        }
        Ok(Self { user, password })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Takes a URL apart. The URL itself is in no error: it may hold a password.
pub(super) fn parse(text: &str) -> Result<(Address, Option<Credentials>)> {
    let wrong =
        |why: &str| Error::config(format!("the URL of an MQTT broker: {why}; it is mqtt://USER:PASSWORD@HOST:PORT"));
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    let (tls, default_port) = match url.scheme() {
        "mqtt" => (false, 1883),
        "mqtts" => (true, 8883),
        other => return Err(wrong(&format!("{other}: is neither mqtt nor mqtts"))),
    };
    let host = match url.host() {
        Some(Host::Domain("")) | None => return Err(wrong("no host")),
        // A certificate is for a name, and the client takes an IPv6 address in brackets for one.
        Some(Host::Ipv6(_)) if tls => return Err(wrong("an IPv6 address with TLS: give the name of the host")),
        Some(host) => host.to_string(),
    };
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("a path, query or fragment, which mean nothing here: the topic is a setting of its own"));
    }
    let decode = |text: &str| {
        let bytes = percent_decode_str(text).decode_utf8();
        bytes.map(|text| text.into_owned()).map_err(|_| wrong("a user or password that is no UTF-8"))
    };
    let password = url.password().map(decode).transpose()?;
    let credentials = match (decode(url.username())?, password) {
        (user, None) if user.is_empty() => None,
        (user, Some(_)) if user.is_empty() => return Err(wrong("a password without a user")),
        (user, password) => Some(Credentials::new(user, password)?),
    };
    Ok((Address { host, port: url.port().unwrap_or(default_port), tls }, credentials))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, address: &str, credentials: Option<(&str, Option<&str>)>) {
        let (parsed, who) = parse(url).unwrap();
        assert_eq!(parsed.to_string(), address);
        assert_eq!(who.as_ref().map(|who| (&*who.user, who.password.as_deref())), credentials);
    }

    #[test]
    fn urls_are_taken_apart() {
        check("mqtt://127.0.0.1", "mqtt://127.0.0.1:1883", None);
        check("mqtts://broker.example/", "mqtts://broker.example:8883", None);
        check("mqtt://[::1]:1884", "mqtt://[::1]:1884", None);
        check("mqtt://a%40b:c%2F%3Ad@h:1", "mqtt://h:1", Some(("a@b", Some("c/:d"))));
        check("mqtt://token@h", "mqtt://h:1883", Some(("token", None)));
    }

    #[test]
    fn wrong_urls_are_named_without_what_is_secret() {
        for (url, named) in [
            ("127.0.0.1:1883", "relative"),
            ("http://h", "neither mqtt nor mqtts"),
            ("mqtt://", "no host"),
            ("mqtt://me:s3cret@h/topic", "path"),
            ("mqtt://h?x", "query"),
            ("mqtt://:s3cret@h", "without a user"),
            ("mqtt://me:s3cret%ff@h", "UTF-8"),
            ("mqtts://me:s3cret@[::1]", "IPv6"),
            ("mqtt://me:s3cret@h:99999", "port"),
        ] {
            let error = parse(url).err().unwrap();
            assert!(error.is_config() && error.to_string().contains(named), "{url}: {error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
