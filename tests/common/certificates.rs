//! Certificates of a broker and its client, for one test.

use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

/// A server, a client, and who signed both. The server's are in files.
pub struct Certificates {
    folder: tempfile::TempDir,
    roots: RootCertStore,
    client: (CertificateDer<'static>, PrivateKeyDer<'static>),
}

impl Certificates {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new([]).unwrap();
        authority.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let [server, client] = ["127.0.0.1", "client"].map(|name| {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut parameters = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
            parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
            (parameters.signed_by(&key, &issuer).unwrap(), key)
        });
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", authority_certificate.pem());
        write("server.pem", server.0.pem());
        write("server.key", server.1.serialize_pem());
        let mut roots = RootCertStore::empty();
        roots.add(authority_certificate.der().clone()).unwrap();
        let key = PrivateKeyDer::try_from(client.1.serialize_der()).unwrap();
        Self { folder, roots, client: (client.0.der().clone(), key) }
    }

    /// `ca.pem`, `server.pem` or `server.key`.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn config(&self) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(self.roots.clone())
    }

    /// Trusts the server, and has a certificate.
    pub fn client(&self) -> Arc<ClientConfig> {
        let (certificate, key) = (self.client.0.clone(), self.client.1.clone_key());
        self.config().with_client_auth_cert(vec![certificate], key).unwrap().into()
    }

    /// Trusts the server, and has none.
    pub fn stranger(&self) -> Arc<ClientConfig> {
        self.config().with_no_client_auth().into()
    }
}
