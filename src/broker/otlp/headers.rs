//! The headers of requests, with their secrets.

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::HeaderMap;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, USER_AGENT,
};

use crate::broker::link::Cause;
use crate::broker::url::Url;
use crate::{Error, Result};

pub(super) const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
pub(super) const GZIP: HeaderValue = HeaderValue::from_static("gzip");

const OWN_NAME: HeaderValue = HeaderValue::from_static(concat!("appmon/", env!("CARGO_PKG_VERSION")));

/// The user's headers. Not `Debug`: their values are secrets.
#[derive(Clone, Default)]
pub(super) struct Headers(Vec<(HeaderName, Value)>);

/// Where the value of a header is.
#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    Env(String),
    File { before: &'static str, path: PathBuf },
}

impl Headers {
    pub(super) fn add(&mut self, name: &str, value: Value) -> Result<()> {
        let header =
            HeaderName::try_from(name).map_err(|_| Error::config(format!("{name:?} is no name of a header")))?;
        if [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&header) {
            return Err(Error::config(format!("{name:?} is decided by the connection")));
        }
        if let Value::Text(text) = &value {
            secret(&header, text)?;
        }
        self.0.push((header, value));
        Ok(())
    }

    /// Reads files and variables. It blocks.
    pub(super) fn read(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::with_capacity(self.0.len().saturating_add(5));
        for (name, value) in &self.0 {
            let value = match value {
                Value::Text(text) => secret(name, text)?,
                Value::Env(variable) => {
                    let missing = |_| Error::config(format!("header {name}: the variable {variable} is not set"));
                    secret(name, std::env::var(variable).map_err(missing)?.trim())?
                }
                Value::File { before, path } => {
                    let text = std::fs::read_to_string(path).map_err(|error| Error::io(error).at(path.clone()))?;
                    secret(name, &format!("{before}{}", text.trim()))?
                }
            };
            headers.insert(name.clone(), value);
        }
        Ok(headers)
    }
}

/// Adds those that each request has.
pub(super) fn add_own(headers: &mut HeaderMap, url: &Url) -> Result<(), Cause> {
    let host = if url.port == url.scheme.port {
        url.bracketed_host()
    } else {
        format!("{}:{}", url.bracketed_host(), url.port)
    };
    headers.entry(HOST).or_insert(secret(&HOST, &host)?);
    headers.entry(USER_AGENT).or_insert(OWN_NAME);
    if let Some(user) = &url.user {
        let login = format!("{user}:{}", url.password.as_deref().unwrap_or_default());
        let basic = format!("Basic {}", BASE64_STANDARD.encode(login));
        headers.entry(AUTHORIZATION).or_insert(secret(&AUTHORIZATION, &basic)?);
    }
    Ok(())
}

fn secret(name: &HeaderName, text: &str) -> Result<HeaderValue> {
    let wrong = |_| Error::config(format!("header {name}: its value has a character that no value has"));
    let mut value = HeaderValue::try_from(text).map_err(wrong)?;
    value.set_sensitive(true);
    Ok(value)
}
