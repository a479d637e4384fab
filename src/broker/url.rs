//! URLs of brokers.

use std::fmt;

use crate::{Error, Result};

/// The form of a broker's URLs.
pub(super) struct Form {
    /// The broker, for errors: `a Redis server`.
    pub(super) broker: &'static str,
    /// The first is the default of URLs without a scheme, if `bare` ones are allowed.
    pub(super) schemes: &'static [Scheme],
    pub(super) bare: bool,
}

/// A scheme, with its properties.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scheme {
    pub(super) name: &'static str,
    pub(super) tls: bool,
    pub(super) port: u16,
}

/// The components of a URL: `SCHEME://[USER[:PASSWORD]@]HOST[:PORT][/PATH][?QUERY]`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) scheme: &'static Scheme,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// A name or an address; that of IPv6 without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// The path as written, without its leading `/`; `None` if there is no `/`.
    pub(super) path: Option<String>,
    pub(super) query: Option<String>,
}

impl Form {
    /// Parses one URL, or several separated by commas. One without a scheme has the scheme and user of the one before:
    /// `nats://me:secret@a,b:4223`.
    ///
    /// The errors contain no part of the text, since it may contain a password.
    pub(super) fn read(&self, text: &str) -> Result<Vec<Url>> {
        let mut urls: Vec<Url> = Vec::new();
        for one in text.split(',') {
            let url = self.read_one(one.trim(), urls.last()).map_err(|why| self.wrong(&why))?;
            urls.push(url);
        }
        Ok(urls)
    }

    /// Returns an error about a URL.
    pub(super) fn wrong(&self, why: &str) -> Error {
        let scheme = self.schemes.first().map_or("", |scheme| scheme.name);
        let form = format!("{scheme}://[USER:PASSWORD@]HOST[:PORT]");
        Error::config(format!("the URL of {}: {why}; it has the form {form}", self.broker))
    }

    fn read_one(&self, text: &str, before: Option<&Url>) -> Result<Url, String> {
        if text.contains('#') {
            return Err("it contains #: in a password, write %23".to_owned());
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((name, rest)) => (self.scheme(name)?, rest),
            None => match before.map(|url| url.scheme).or(self.schemes.first().filter(|_| self.bare)) {
                Some(scheme) => (scheme, text),
                None => return Err(self.begins()),
            },
        };
        let (rest, query) = split(rest, '?');
        let (authority, path) = split(rest, '/');
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, authority),
        };
        let (user, password) = match login {
            Some(login) => {
                let (user, password) = split(login, ':');
                (Some(unescape(user)?), password.map(unescape).transpose()?)
            }
            // The later URLs of a list take scheme and user from the first.
            None if !text.contains("://") => {
                before.map_or((None, None), |url| (url.user.clone(), url.password.clone()))
            }
            None => (None, None),
        };
        let (host, port) = host_and_port(address)?;
        let (path, query) = (path.map(str::to_owned), query.map(str::to_owned));
        Ok(Url { scheme, user, password, host: host.to_owned(), port: port.unwrap_or(scheme.port), path, query })
    }

    fn scheme(&self, name: &str) -> Result<&'static Scheme, String> {
        let name = name.to_ascii_lowercase();
        self.schemes.iter().find(|scheme| scheme.name == name).ok_or_else(|| self.begins())
    }

    fn begins(&self) -> String {
        let begin = |scheme: &Scheme| format!("{}://{}", scheme.name, if scheme.tls { " for TLS" } else { "" });
        let begins: Vec<_> = self.schemes.iter().map(begin).collect();
        format!("it begins with {}", begins.join(" or "))
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn host_and_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port, more) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, port))) => (host, port, &b":.%"[..]),
        Some(None) => return Err("an IPv6 address must be in brackets".to_owned()),
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (host, port, &b"-._"[..])
        }
    };
    if host.is_empty() {
        return Err("it has no host".to_owned());
    }
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte)) {
        return Err(
            "it has a character that no host has; in user and password, write it as % and two hexadecimal digits"
                .to_owned(),
        );
    }
    if port.is_empty() {
        return Ok((host, None));
    }
    let digits = port.strip_prefix(':').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()).filter(|port| *port > 0) {
        Some(port) => Ok((host, Some(port))),
        None => Err("its port is not a number from 1 to 65535".to_owned()),
    }
}

/// Undoes percent-encoding.
pub(super) fn unescape(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest.next().zip(rest.next()).map(|(high, low)| [high, low]);
        let digits = digits.as_ref().and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded = digits.filter(|digits| !digits.starts_with('+')).map(|digits| u8::from_str_radix(digits, 16));
        bytes.push(decoded.and_then(Result::ok).ok_or("a % must be followed by two hexadecimal digits")?);
    }
    String::from_utf8(bytes).map_err(|_| "an escaped text is not UTF-8".to_owned())
}

/// Checks that one of the URLs uses TLS, if a TLS configuration was set.
#[cfg(any(feature = "amqp", feature = "mqtt", feature = "otlp", feature = "redis"))]
pub(super) fn wants_tls<'a>(mut urls: impl Iterator<Item = &'a Url>) -> Result<()> {
    if urls.any(|url| url.scheme.tls) {
        return Ok(());
    }
    Err(Error::config("there is a TLS configuration, but the scheme of the URL is one without TLS"))
}

/// Formats several URLs, as they are parsed.
pub(super) fn list<'a>(urls: impl IntoIterator<Item = &'a Url>) -> String {
    let texts: Vec<String> = urls.into_iter().map(Url::to_string).collect();
    texts.join(",")
}

impl Url {
    /// Returns the host as written in a URL.
    pub(super) fn bracketed_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

/// Formats it without user, password, path and query.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.name, self.bracketed_host(), self.port)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Form = Form {
        broker: "a test",
        schemes: &[Scheme { name: "x", tls: false, port: 1 }, Scheme { name: "xs", tls: true, port: 2 }],
        bare: false,
    };
    const BARE: Form = Form { bare: true, ..FORM };

    #[test]
    fn urls_are_taken_apart() {
        let read = |text| FORM.read(text).unwrap().remove(0);
        let url = read("XS://us%40er:p%3Aa@ss:w@host:9/a/b?c=d?e");
        assert_eq!((url.to_string(), url.scheme.tls), ("xs://host:9".to_owned(), true));
        assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("us@er"), Some("p:a@ss:w")));
        assert_eq!((url.path.as_deref(), url.query.as_deref()), (Some("a/b"), Some("c=d?e")));
        let url = read("x://[::1]");
        assert_eq!((url.host.as_str(), url.port, url.to_string()), ("::1", 1, "x://[::1]:1".to_owned()));
        assert_eq!((url.user, url.password, url.path, url.query), (None, None, None, None));
        assert_eq!(read("x://token@h/").user.as_deref(), Some("token"));
        assert_eq!(read("x://h/").path.as_deref(), Some(""));
        assert_eq!(read("x://:pw@h").user.as_deref(), Some(""));
    }

    #[test]
    fn lists_share_what_only_the_first_says() {
        let urls = FORM.read("x://me:pw@a, b:3,xs://c,d/topic").unwrap();
        assert_eq!(list(&urls), "x://a:1,x://b:3,xs://c:2,xs://d:2");
        let users: Vec<_> = urls.iter().map(|url| url.user.as_deref()).collect();
        assert_eq!(users, [Some("me"), Some("me"), None, None]);
        assert_eq!(urls[3].path.as_deref(), Some("topic"));
        let users = FORM.read("x://me:pw@a,x://you:pv@b").unwrap();
        assert_eq!((users[1].user.as_deref(), users[1].password.as_deref()), (Some("you"), Some("pv")));
        assert_eq!(list(&BARE.read("a,b:7").unwrap()), "x://a:1,x://b:7");
    }

    #[test]
    fn errors_show_nothing_of_the_text() {
        for (wrong, named) in [
            ("", "begins with x:// or xs:// for TLS"),
            ("host:9", "begins with"),
            ("y://s3cret@host", "begins with"),
            ("x://", "no host"),
            ("x://user:s3cret@", "no host"),
            ("x://a,,b", "no host"),
            ("x://a,", "no host"),
            ("x://a:s3cret", "port"),
            ("x://a:0", "port"),
            ("x://a:65536", "port"),
            ("x://a:+1", "port"),
            ("x://::1", "no host"),
            ("x://[::1", "brackets"),
            ("x://[::1]9", "port"),
            ("x://s3 cret", "no host has"),
            ("x://user:s3cret%4@host", "hexadecimal"),
            ("x://user:s3cret%+1@host", "hexadecimal"),
            ("x://user:s3cret%ff@host", "UTF-8"),
            ("x://user:s3#cret@host", "%23"),
            ("x://user:s3/cret@host", "port"),
        ] {
            let error = FORM.read(wrong).unwrap_err();
            assert!(error.is_config() && error.to_string().contains(named), "{wrong}: {error}");
            assert!(!error.to_string().contains("s3"), "{error}");
        }
    }
}
