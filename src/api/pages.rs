//! Pages for browsers, and the security headers.

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::Response,
};

/// Swagger UI sets styles from its script, hence `'unsafe-inline'`. Everything else is loaded from this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Whether the path is a page for people, not an API endpoint.
pub fn is_page(path: &str) -> bool {
    path == "/" || path == "/docs" || path.starts_with("/docs/")
}

/// Sets `nosniff` on every response. Pages also get a Content Security Policy and may not be framed.
pub fn protect(response: &mut Response, is_page: bool) {
    let mut say = |name: HeaderName, value| response.headers_mut().insert(name, HeaderValue::from_static(value));
    say(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if is_page {
        say(header::CONTENT_SECURITY_POLICY, POLICY);
        say(header::X_FRAME_OPTIONS, "DENY");
    }
}
