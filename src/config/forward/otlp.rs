//! Settings of receivers of OTLP.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::common::{Common, apply};
use crate::Result;
use crate::broker::otlp::Http;
use crate::config::keys::settings;
use crate::forward::BoxPublish;

settings! {
    /// The settings of receivers of OTLP alone.
    #[derive(Default)]
    pub struct OtlpConfig {
        required {}
        optional {
            /// Whether requests are compressed: [`Http::gzip`].
            gzip: Option<bool>,
            /// The file of the token in `authorization: Bearer TOKEN`: [`Http::bearer_from_file`].
            bearer_file: Option<PathBuf>,
            /// Headers, each with the environment variable of its value: [`Http::header_from_env`].
            headers_env: Option<BTreeMap<String, String>>,
            /// Headers, each with the file of its value: [`Http::header_from_file`].
            headers_file: Option<BTreeMap<String, PathBuf>>,
        }
    }
}

impl OtlpConfig {
    pub(super) fn broker(&self, common: Common<'_>, url: &str) -> Result<BoxPublish> {
        let Self { gzip, bearer_file, headers_env, headers_file } = self;
        let mut broker = Http::new(url)?;
        if let Some(gzip) = gzip {
            broker = broker.gzip(*gzip);
        }
        if let Some(path) = bearer_file {
            broker = broker.bearer_from_file(path);
        }
        for (name, variable) in headers_env.iter().flatten() {
            broker = broker.header_from_env(name, variable);
        }
        for (name, path) in headers_file.iter().flatten() {
            broker = broker.header_from_file(name, path);
        }
        apply!(broker, common);
        Ok(BoxPublish::new(broker))
    }
}
