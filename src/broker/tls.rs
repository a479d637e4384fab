//! The TLS configuration of connections.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{ClientConfig, RootCertStore};

use crate::broker::blocking::blocking;
use crate::{Error, Result};

/// The user's TLS configuration, or one with the certificates that the system trusts.
#[derive(Clone, Default)]
pub(super) struct Tls {
    given: Option<Arc<ClientConfig>>,
    /// The configuration with the system's certificates, read at first use.
    system: Arc<Mutex<Option<Arc<ClientConfig>>>>,
}

impl Tls {
    /// Sets the user's configuration.
    pub(super) fn set(&mut self, config: Arc<ClientConfig>) {
        self.given = Some(config);
    }

    /// Whether the user has set a configuration.
    #[cfg(feature = "nats")]
    pub(super) fn is_set(&self) -> bool {
        self.given.is_some()
    }

    pub(super) async fn config(&self) -> Result<Arc<ClientConfig>> {
        if let Some(config) = self.given.clone().or_else(|| self.system().clone()) {
            return Ok(config);
        }
        let config = Arc::new(blocking(of_system).await?);
        *self.system() = Some(Arc::clone(&config));
        Ok(config)
    }

    /// To be called after a failed connection: the system's certificates are read again for the next one, since some may have been
    /// added.
    pub(super) fn forget(&self) {
        *self.system() = None;
    }

    fn system(&self) -> std::sync::MutexGuard<'_, Option<Arc<ClientConfig>>> {
        self.system.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a configuration with these roots, and no client certificate.
pub(super) fn with_roots(roots: RootCertStore) -> Result<ClientConfig> {
    // An explicit provider: a library must not depend on, or set, the default of the process.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::config(format!("TLS: {error}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Reads many files.
fn of_system() -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Error::config(
            "this system has no trusted certificates: install them, or set a TLS configuration with `tls`",
        ));
    }
    with_roots(roots)
}
