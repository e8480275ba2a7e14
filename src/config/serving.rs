//! Rules for the settings of the HTTP server.

use anyhow::ensure;

use super::{LOCALHOST, ServerSettings};

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
