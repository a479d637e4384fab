//! `kafka://` URLs.

use std::fmt;

use crate::{Error, Result};

/// Whom a URL names: brokers to begin with, and as whom to speak to them.
pub(super) struct Address {
    /// `host:port`, separated by commas.
    pub(super) brokers: String,
    pub(super) tls: bool,
    pub(super) login: Option<Login>,
    /// What is after the brokers: a template of topics.
    pub(super) topic: Option<String>,
}

pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

const PORT: &str = "9092";

impl Address {
    /// Reads `kafka://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]]…[/TOPIC]`, or the same with `kafkas://`.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "kafka" => false,
            "kafkas" => true,
            _ => return Err(wrong(url, "it must begin with kafka://, or kafkas:// for TLS")),
        };
        let (authority, topic) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(Login::parse(url, login)?), hosts),
            None => (None, authority),
        };
        let mut brokers = String::new();
        for host in hosts.split(',') {
            let (name, port) = host_and_port(host).ok_or_else(|| {
                wrong(url, "brokers are HOST or HOST:PORT, separated by commas, IPv6 addresses in brackets")
            })?;
            if !brokers.is_empty() {
                brokers.push(',');
            }
            brokers.extend([name, ":", port]);
        }
        Ok(Self { brokers, tls, login, topic: (!topic.is_empty()).then(|| topic.to_owned()) })
    }
}

impl Login {
    fn parse(url: &str, text: &str) -> Result<Self> {
        let (user, password) = text.split_once(':').ok_or_else(|| wrong(url, "a user needs a password"))?;
        let decode = |text| {
            unescape(text).ok_or_else(|| wrong(url, "in user and password, % is followed by two hexadecimal digits"))
        };
        Ok(Self { user: decode(user)?, password: decode(password)? })
    }
}

/// An error about a URL, without what may be secret in it.
fn wrong(url: &str, why: &str) -> Error {
    let shown = match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        (None, Some((_, rest))) => format!("…@{rest}"),
        (_, None) => url.to_owned(),
    };
    Error::config(format!("{shown:?}: {why}"))
}

fn host_and_port(text: &str) -> Option<(&str, &str)> {
    let end =
        if text.starts_with('[') { text.find(']')?.checked_add(1)? } else { text.find(':').unwrap_or(text.len()) };
    let (name, port) = text.split_at_checked(end)?;
    let port = match port.strip_prefix(':') {
        Some(port) => port,
        None if port.is_empty() => PORT,
        None => return None,
    };
    let is_name = |name: &str, more: &[u8]| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    let right = match name.strip_prefix('[') {
        Some(address) => is_name(address.strip_suffix(']')?, b":.%"),
        None => is_name(name, b"-._"),
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    (right && digits && port.parse::<u16>().is_ok_and(|port| port > 0)).then_some((name, port))
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        let digits = std::str::from_utf8(&digits).ok().filter(|digits| !digits.starts_with('+'))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("brokers", &self.brokers).field("tls", &self.tls).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_brokers_users_and_topics() {
        let parse = |url| Address::parse(url).unwrap();
        let address = parse("kafka://127.0.0.1:9092");
        assert_eq!((address.brokers.as_str(), address.tls, address.topic), ("127.0.0.1:9092", false, None));
        assert!(address.login.is_none());
        assert_eq!(parse("KAFKA://a.b-c_d,[::1],[::1]:7,e:8/").brokers, "a.b-c_d:9092,[::1]:9092,[::1]:7,e:8");
        let address = parse("kafkas://us%40er:p%3Aa@ss:w@host/metrics.{kind}");
        assert_eq!((address.brokers.as_str(), address.tls), ("host:9092", true));
        assert_eq!(address.topic.unwrap(), "metrics.{kind}");
        let login = address.login.unwrap();
        assert_eq!((login.user.as_str(), login.password.as_str()), ("us@er", "p:a@ss:w"));
    }

    #[test]
    fn wrong_urls_are_named_without_their_secrets() {
        for wrong in [
            "",
            "localhost:9092",
            "http://localhost",
            "kafka://",
            "kafka://a,,b",
            "kafka://a:b",
            "kafka://a:0",
            "kafka://a:65536",
            "kafka://a:+1",
            "kafka://::1",
            "kafka://[::1",
            "kafka://[::1]9092",
            "kafka://a?x=y",
            "kafka://a b",
            "kafka://user:secret@",
            "kafka://user@host",
            "kafka://user:secret%4@host",
            "kafka://user:secret%+1@host",
            "kafka://user:secret%ff@host",
            "user:secret@host",
        ] {
            let error = Address::parse(wrong).unwrap_err();
            assert!(error.is_config(), "{wrong}");
            assert!(!error.to_string().contains("secret") && !error.to_string().contains("user:"), "{error}");
        }
    }
}
