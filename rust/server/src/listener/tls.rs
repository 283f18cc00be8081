//! TLS with a certificate and a key from files.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error, ServerConfig};

/// Reads a chain of certificates, the server's own first, and its key, both as PEM. They may be in
/// one file.
///
/// # Errors
/// A file cannot be read, is no PEM, or the key is of another certificate.
pub(super) fn read_certificate(certfile: &Path, keyfile: &Path) -> io::Result<Arc<ServerConfig>> {
    let in_file = |path: &Path, error: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(certfile)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| in_file(certfile, &error))?;
    if chain.is_empty() {
        return Err(in_file(certfile, &"no certificate in PEM format is in it"));
    }
    let key = PrivateKeyDer::from_pem_file(keyfile).map_err(|error| in_file(keyfile, &error))?;
    let config = config_of(chain, key).map_err(|error| in_file(certfile, &error))?;
    Ok(Arc::new(config))
}

fn config_of(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    // A client that offers HTTP/2 as well must not choose it.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
