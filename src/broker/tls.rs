//! The TLS configuration of connections.

#[cfg(feature = "config")]
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(feature = "config")]
use rustls::pki_types::pem::{self, PemObject};
#[cfg(feature = "config")]
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

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
    Ok(builder()?.with_root_certificates(roots).with_no_client_auth())
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>> {
    // An explicit provider: a library must not depend on, or set, the default of the process.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::config(format!("TLS: {error}")))
}

/// Reads many files.
fn of_system() -> Result<ClientConfig> {
    with_roots(system_roots()?)
}

fn system_roots() -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Error::config(
            "this system has no trusted certificates: install them, or set a TLS configuration with `tls`",
        ));
    }
    Ok(roots)
}

/// Returns a configuration of PEM files: the roots, which are the system's where none are named, and the client certificate with its key.
#[cfg(feature = "config")]
pub(crate) fn of_files(roots: Option<&Path>, certificate: Option<&Path>, key: Option<&Path>) -> Result<ClientConfig> {
    let wrong = |path: &Path, error: pem::Error| match error {
        pem::Error::Io(error) => Error::io(error).at(path),
        pem::Error::NoItemsFound => Error::config("TLS: the file has none in PEM form").at(path),
        error => Error::config(format!("TLS: {error}")).at(path),
    };
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        match found.map_err(|error| wrong(path, error))? {
            none if none.is_empty() => Err(wrong(path, pem::Error::NoItemsFound)),
            found => Ok(found),
        }
    };
    let roots = match roots {
        None => system_roots()?,
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(path)? {
                roots.add(root).map_err(|error| Error::config(format!("TLS: {error}")).at(path))?;
            }
            roots
        }
    };
    let config = builder()?.with_root_certificates(roots);
    match (certificate, key) {
        (None, None) => Ok(config.with_no_client_auth()),
        (Some(chain), Some(key)) => {
            let own = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error))?;
            let config = config.with_client_auth_cert(certificates(chain)?, own);
            config.map_err(|error| Error::config(format!("TLS: {error}")).at(key))
        }
        _ => Err(Error::config("tls: certificate_file and key_file go together")),
    }
}
