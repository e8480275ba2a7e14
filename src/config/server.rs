//! Settings of the HTTP server: its addresses, and its limits for clients.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::ensure;
use serde::Deserialize;

use super::LOCALHOST;

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    pub bind: SocketAddr,
    /// The name of this installation in the API (`os_id`).
    pub id: String,
    /// Largest request body, in bytes; a larger one is answered with 413.
    pub max_body_bytes: usize,
    /// Limit for requests that run no model (then 504), and for receiving the body of any request (then 408).
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// How long a stopping server waits for active runs to settle.
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
    /// Browser origins that may call the API. `localhost` allows every port of this machine, `*` all origins.
    pub cors_origins: Vec<String>,
    /// Host names that the server accepts, in addition to localhost and its own addresses. `*.example.com` allows every
    /// name below it, `*` all names.
    pub allowed_hosts: Vec<String>,
    /// Maximum number of open connections; the next one gets 503.
    pub max_connections: usize,
    /// Limit for receiving the head of a request, from its first byte on; then the connection is closed.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// How long a connection without a request stays open.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// How long a client may read nothing of its response; then the connection is closed.
    #[serde(with = "humantime_serde")]
    pub write_timeout: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 7777)),
            id: "colloquy".into(),
            max_body_bytes: 4 * 1024 * 1024,
            request_timeout: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(20),
            cors_origins: vec![LOCALHOST.into()],
            allowed_hosts: Vec::new(),
            max_connections: 4096,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_mins(1),
        }
    }
}

impl ServerSettings {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for origin in &self.cors_origins {
            let is_origin = ["*", LOCALHOST].contains(&origin.as_str())
                || reqwest::Url::parse(origin).is_ok_and(|url| url.origin().ascii_serialization() == *origin);
            ensure!(
                is_origin,
                "server.cors_origins has \"{origin}\", which is no origin; give scheme, host and port alone, such as \
                 https://app.example.com, or localhost, or *"
            );
        }
        for host in &self.allowed_hosts {
            ensure!(
                host == "*" || is_host(host.strip_prefix("*.").unwrap_or(host)),
                "server.allowed_hosts has \"{host}\", which is no host name; give a name or an address without scheme and \
                 port, such as app.example.com, or *.example.com, or *"
            );
        }
        ensure!(self.max_connections > 0, "server.max_connections is 0; at least 1 is needed");
        for (key, timeout) in [
            ("header_timeout", self.header_timeout),
            ("idle_timeout", self.idle_timeout),
            ("write_timeout", self.write_timeout),
        ] {
            ensure!(!timeout.is_zero(), "server.{key} is zero; give a duration such as \"30s\"");
        }
        Ok(())
    }
}

/// A name, or an IP address with or without brackets.
fn is_host(host: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
    };
    is_name(host) || host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowed_host_has_neither_scheme_nor_port() {
        let check = |host: &str| ServerSettings { allowed_hosts: vec![host.into()], ..Default::default() }.check();
        for host in ["colloquy", "app.example.com", "*.example.com", "*", "10.0.0.7", "::1", "[fd00::7]"] {
            check(host).unwrap();
        }
        for host in ["", "*.", "http://app.example.com", "app.example.com:443", "a b", "**", "a/*"] {
            let message = check(host).unwrap_err().to_string();
            assert!(message.contains("server.allowed_hosts") && message.contains("app.example.com"), "{message}");
        }
    }
}
