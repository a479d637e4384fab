//! TLS where the user configures none.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use crate::{Error, Result};

/// A configuration with these roots, and no client certificate.
pub(super) fn config(roots: RootCertStore) -> Result<ClientConfig> {
    // Given by name: which provider is the process's default is not a library's business.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::config(format!("TLS: {error}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// A configuration with the certificates the system trusts. It reads many files.
pub(super) fn of_system() -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Error::config("there are no certificates that this system trusts: give a TLS configuration"));
    }
    config(roots)
}
