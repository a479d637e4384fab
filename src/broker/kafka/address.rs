//! `kafka://` URLs.

use std::fmt;

use crate::Result;
use crate::broker::url::{Form, Scheme};

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

const FORM: Form = Form {
    broker: "a Kafka cluster",
    schemes: &[Scheme { name: "kafka", tls: false, port: 9092 }, Scheme { name: "kafkas", tls: true, port: 9092 }],
    bare: false,
};

impl Address {
    /// Reads `kafka://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]]…[/TOPIC]`, or the same with `kafkas://`.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let mut urls = FORM.read(url)?;
        let brokers = urls.iter().map(|url| format!("{}:{}", url.bracketed_host(), url.port)).collect::<Vec<_>>();
        let brokers = brokers.join(",");
        let same = |url| urls.first().is_none_or(|first| login(first) == login(url) && first.scheme == url.scheme);
        if !urls.iter().all(same) {
            return Err(FORM.wrong("one user and one scheme for all brokers"));
        }
        if urls.iter().any(|url| url.query.is_some()) {
            return Err(FORM.wrong("a query, which means nothing here"));
        }
        let Some(last) = urls.pop() else { return Err(FORM.wrong("it has no host")) };
        if urls.iter().any(|url| url.path.is_some()) {
            return Err(FORM.wrong("the topic stands after the last broker"));
        }
        let login = match (last.user, last.password) {
            (None, _) => None,
            (Some(user), Some(password)) if !user.is_empty() => Some(Login { user, password }),
            (Some(_), _) => return Err(FORM.wrong("a user and a password, or none of them")),
        };
        let topic = last.path.filter(|topic| !topic.is_empty());
        Ok(Self { brokers, tls: last.scheme.tls, login, topic })
    }
}

fn login(url: &crate::broker::url::Url) -> (Option<&str>, Option<&str>) {
    (url.user.as_deref(), url.password.as_deref())
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
        let address = parse("kafkas://us%40er:p%3Aa@ss:w@host,other:7/metrics.{kind}");
        assert_eq!((address.brokers.as_str(), address.tls), ("host:9092,other:7", true));
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
            "kafka://::1",
            "kafka://a?x=y",
            "kafka://a/t,b",
            "kafka://user:secret@",
            "kafka://user@host",
            "kafka://user:secret@a,kafka://other:secret@b",
            "user:secret@host",
        ] {
            let error = Address::parse(wrong).unwrap_err();
            assert!(error.is_config(), "{wrong}");
            assert!(!error.to_string().contains("secret") && !error.to_string().contains("user:"), "{error}");
        }
    }
}
