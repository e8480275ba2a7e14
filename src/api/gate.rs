//! Protection against foreign web pages and DNS rebinding, needed because there is no authentication yet.
//!
//! Any page in a developer's browser can send requests to this machine. Two things distinguish them from the user's own
//! requests: the page that the browser reports (`Origin`, `Sec-Fetch-Site`), and the host name that it believes it is
//! calling (`Host`). Checking `Host` stops DNS rebinding: a foreign name that was pointed at this machine is not
//! accepted as the server's own.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::Authority},
};

use super::{Problem, pages};
use crate::config::{LOCALHOST, ServerSettings};

const SITE: &str = "sec-fetch-site";
const MODE: &str = "sec-fetch-mode";
const DESTINATION: &str = "sec-fetch-dest";

/// The local address on which the connection arrived.
#[derive(Clone, Copy, Debug)]
pub struct LocalAddress(pub IpAddr);

/// Refuses requests for another host (421) and requests from pages of other sites (403).
pub fn refuse_strangers(request: &Request, settings: &ServerSettings) -> Result<(), Problem> {
    let asked = asked_host(request)?;
    let local = request.extensions().get().map(|LocalAddress(address)| *address);
    // An authority in the request target is checked as well as the header.
    for authority in request.uri().authority().into_iter().chain([&asked]) {
        if !is_own(authority.host(), local, &settings.allowed_hosts) {
            return Err(Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                format!(
                    "'{}' is no name of this server. Ask it as localhost or by its address, or add the name to \
                     server.allowed_hosts (COLLOQUY_SERVER__ALLOWED_HOSTS)",
                    authority.host()
                ),
            ));
        }
    }
    check_page(request, &asked, &settings.cors_origins)
}

/// The host that the request is addressed to. HTTP/2 has it in the request target.
fn asked_host(request: &Request) -> Result<Authority, Problem> {
    let malformed =
        || Problem::unreadable("The Host header is no host name; send the host and port of this server in it");
    let mut named = request.headers().get_all(header::HOST).iter();
    let Some(host) = named.next() else {
        let missing = || Problem::unreadable("There is no Host header; send the host and port of this server in it");
        return request.uri().authority().cloned().ok_or_else(missing);
    };
    if named.next().is_some() {
        return Err(Problem::unreadable("There is more than one Host header; send one"));
    }
    let authority = Authority::try_from(host.as_bytes()).map_err(|_| malformed())?;
    let port = authority.as_str().strip_prefix(authority.host()).ok_or_else(malformed)?;
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    if authority.host().is_empty() || !is_port { Err(malformed()) } else { Ok(authority) }
}

/// Whether `host` means this server: a name that only this machine can have, the address on which the connection
/// arrived, or a name from the settings.
fn is_own(host: &str, local: Option<IpAddr>, allowed: &[String]) -> bool {
    if is_this_machine(host) {
        return true;
    }
    let name = normal(host);
    let address = name.parse().ok().map(|address: IpAddr| address.to_canonical());
    // A server that listens on all addresses logs 0.0.0.0 as its address, so users open it.
    let is_reached =
        address.is_some_and(|it| it.is_unspecified() || local.is_some_and(|local| local.to_canonical() == it));
    is_reached
        || allowed.iter().any(|allowed| match allowed.strip_prefix('*') {
            Some(rest) => name.ends_with(&rest.to_ascii_lowercase()),
            None => normal(allowed) == name,
        })
}

/// Loopback names and addresses, which nobody else can own.
pub fn is_this_machine(host: &str) -> bool {
    let name = normal(host);
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Lower case, without the brackets of an IPv6 address and without the trailing dot of a fully qualified name.
fn normal(host: &str) -> String {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Refuses requests from pages of other sites. Clients that are not browsers do not send these headers, and pass.
fn check_page(request: &Request, asked: &Authority, allowed: &[String]) -> Result<(), Problem> {
    let headers = request.headers();
    let says = |name: &str, value: &str| headers.get(name).is_some_and(|said| said == value);
    // A page cannot forge `Sec-Fetch-Site`, and it stays correct behind a proxy that changes `Host`.
    if says(SITE, "same-origin") || allowed.iter().any(|allowed| allowed == "*") {
        return Ok(());
    }
    for origin in headers.get_all(header::ORIGIN) {
        if !is_allowed(origin, allowed) && !is_same(origin, asked) {
            let origin = String::from_utf8_lossy(origin.as_bytes());
            return Err(foreign(&format!("Pages of {origin} may not call this server. Add that origin to")));
        }
    }
    if headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    // Without `Origin` it is unknown which site the page is from. Browsers omit it where the page cannot read the
    // answer. For same-site requests those are only links and images on other servers of this machine.
    let is_safe = [Method::GET, Method::HEAD].contains(request.method());
    let is_foreign = says(SITE, "cross-site") && !is_link_to_page(request, headers);
    if is_foreign || (says(SITE, "same-site") && !is_safe) {
        return Err(foreign(
            "Pages of other sites may not call this server. Open the address by itself, or add their origin to",
        ));
    }
    Ok(())
}

fn foreign(what: &str) -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        format!("{what} server.cors_origins (COLLOQUY_SERVER__CORS_ORIGINS) if they should"),
    )
}

/// Whether the settings allow calls from pages of this origin.
pub fn is_allowed(origin: &HeaderValue, allowed: &[String]) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    allowed.iter().any(|allowed| if allowed == LOCALHOST { is_local(origin) } else { allowed == origin })
}

fn is_local(origin: &str) -> bool {
    reqwest::Url::parse(origin).is_ok_and(|url| url.host_str().is_some_and(is_this_machine))
}

/// Whether the page comes from the server that it calls. A proxy in front may add TLS, so the scheme is not compared.
fn is_same(origin: &HeaderValue, asked: &Authority) -> bool {
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    origin.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(asked.as_str()))
}

/// Links on other sites may open the pages that are meant for browsers.
fn is_link_to_page(request: &Request, headers: &HeaderMap) -> bool {
    request.method() == Method::GET
        && pages::is_page(request.uri().path())
        && headers.get(MODE).is_some_and(|mode| mode == "navigate")
        && headers.get(DESTINATION).is_none_or(|destination| destination == "document")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_its_address_and_those_of_the_settings_are_its_own() {
        let allowed = ["colloquy".to_owned(), "*.example.com".into(), "FD00::7".into()];
        let local = Some("192.168.1.20".parse().unwrap());
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "app.localhost",
            "127.0.0.1",
            "127.0.0.2",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "192.168.1.20",
            "[::ffff:192.168.1.20]",
            "colloquy",
            "Colloquy.",
            "a.b.example.com",
            "[fd00::7]",
        ] {
            assert!(is_own(host, local, &allowed), "{host}");
        }
        for host in [
            "evil.test",
            "localhost.evil.test",
            "notlocalhost",
            "127.0.0.1.evil.test",
            "10.0.0.1",
            "[fd00::8]",
            "example.com",
            "colloquy.evil.test",
            "xexample.com",
            "",
            ".",
        ] {
            assert!(!is_own(host, local, &allowed), "{host}");
        }
        assert!(is_own("anything.test", None, &["*".to_owned()]));
    }
}
