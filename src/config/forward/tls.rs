//! Settings of TLS.

use std::path::PathBuf;

use rustls::ClientConfig;

use crate::Result;
use crate::broker::tls;
use crate::config::keys::settings;

settings! {
    /// The certificates of TLS, as PEM files.
    #[derive(Default)]
    pub struct TlsConfig {
        required {}
        optional {
            /// The certificates to trust. Default: those that the system trusts.
            ca_file: Option<PathBuf>,
            /// The client certificate, and those between it and its root. Default: none.
            certificate_file: Option<PathBuf>,
            /// The key of the client certificate.
            key_file: Option<PathBuf>,
        }
    }
}

impl TlsConfig {
    pub(super) fn build(&self) -> Result<ClientConfig> {
        let Self { ca_file, certificate_file, key_file } = self;
        tls::of_files(ca_file.as_deref(), certificate_file.as_deref(), key_file.as_deref())
    }
}
