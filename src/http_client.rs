//! Where every HTTP client begins, so that TLS works in each of them.

use reqwest::{Client, ClientBuilder};
use rustls::crypto::{CryptoProvider, ring};

/// A new client, for everything that this process calls.
pub fn builder() -> ClientBuilder {
    // `reqwest` is compiled without cryptography of its own, and takes that of the process.
    if CryptoProvider::get_default().is_none() {
        // Fails if another thread was faster, with the same.
        let _ = ring::default_provider().install_default();
    }
    #[expect(clippy::disallowed_methods, reason = "the one place where clients begin")]
    Client::builder()
}
