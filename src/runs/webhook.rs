//! Webhooks: the end of a background run is told to whoever asked for it, signed as <https://www.standardwebhooks.com>
//! has it, and told again until it is heard.
//!
//! *Architecture Invariant:* unless the settings allow it, no webhook goes to this machine or a private network, also not
//! by way of a name that leads there: addresses are checked when they are connected to. Redirects are not followed.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{DateTime, SecondsFormat, Utc};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{
    StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use secrecy::{ExposeSecret, SecretSlice};
use serde_json::json;
use sha2::Sha256;

use super::{
    model::{RunId, RunStatus},
    store,
};
use crate::{app::App, auth::Scope, clock, config::WebhookSettings, http::Problem};

const TIMEOUT: Duration = Duration::from_secs(15);
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What it takes to send webhooks.
#[derive(Debug)]
pub struct Webhooks {
    client: reqwest::Client,
    key: Option<SecretSlice<u8>>,
}

impl Webhooks {
    pub fn new(settings: &WebhookSettings) -> anyhow::Result<Self> {
        let mut client = reqwest::Client::builder().timeout(TIMEOUT).redirect(redirect::Policy::none());
        if !settings.allow_private {
            client = client.dns_resolver(Arc::new(PublicOnly)).no_proxy();
        }
        let key = settings.secret.as_ref().map(|secret| read_key(secret.expose_secret())).transpose()?;
        Ok(Self { client: client.build().context("the HTTP client for webhooks could not be built")?, key })
    }
}

fn read_key(secret: &str) -> anyhow::Result<SecretSlice<u8>> {
    let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).unwrap_or_default();
    ensure!(
        KEY_BYTES.contains(&key.len()),
        "webhooks.secret is no key of Standard Webhooks; give whsec_ and 24 to 64 random bytes in base64, such as \
         whsec_$(openssl rand -base64 32)"
    );
    Ok(key.into())
}

/// Refuses a URL that will never be called.
pub(super) fn check_url(url: &str, settings: &WebhookSettings) -> Result<(), Problem> {
    let refused = |reason: &str| Err(Problem::invalid("/webhook_url", reason));
    if settings.secret.is_none() {
        return refused(
            "cannot be honoured: this server has no webhooks.secret to sign with; set one, or leave it out",
        );
    }
    let Some(url) = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https")) else {
        return refused("is no http(s) URL; give one such as https://example.com/hooks");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return refused("holds a user name or password; give a URL without");
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address: Option<IpAddr> = host.parse().ok();
    if !settings.allow_private && address.is_some_and(is_private) {
        return refused("leads to a private address; give a public one, or set webhooks.allow_private");
    }
    Ok(())
}

/// Tells the end of a run. An error means another attempt.
pub(crate) async fn deliver(app: &App, run_id: RunId, url: &str) -> anyhow::Result<()> {
    let Some(run) = store::find(&app.db, &Scope::All, run_id).await? else { return Ok(()) };
    let Some(key) = &app.webhooks.key else { bail!("webhooks.secret is not set any more; set it and retry this job") };
    let now = clock::now();
    let event = match run.status {
        RunStatus::Completed | RunStatus::Regenerated => "run.completed",
        RunStatus::Cancelled => "run.cancelled",
        RunStatus::Error => "run.failed",
        RunStatus::Pending | RunStatus::Running | RunStatus::Paused => bail!("the run has not ended"),
    };
    let body = json!({
        "type": event,
        "timestamp": now.to_rfc3339_opts(SecondsFormat::Millis, true),
        "data": {
            "run_id": run.run_id,
            "agent_id": run.component_id,
            "session_id": run.session_id,
            "user_id": run.user_id,
            "seq": run.seq,
            "status": run.status,
            "content": run.content,
            "error": run.error,
            "metrics": run.metrics,
            "metadata": run.metadata,
            "created_at": run.created_at.timestamp(),
        },
    })
    .to_string();
    // The same message has the same id however often it is told.
    let id = format!("msg_{run_id}");
    let request = app
        .webhooks
        .client
        .post(url)
        .header("content-type", "application/json")
        .header("webhook-id", &id)
        .header("webhook-timestamp", now.timestamp().to_string())
        .header("webhook-signature", signature(key, &id, now, &body)?)
        .body(body);
    let status = request.send().await.map_err(reqwest::Error::without_url)?.status();
    match status {
        // Gone: nobody wants to hear of it any more.
        status if status.is_success() || status == StatusCode::GONE => Ok(()),
        status => bail!("the webhook was answered with {status}"),
    }
}

fn signature(key: &SecretSlice<u8>, id: &str, at: DateTime<Utc>, body: &str) -> anyhow::Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret())?;
    mac.update(format!("{id}.{}.{body}", at.timestamp()).as_bytes());
    Ok(format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes())))
}

/// Resolves names to public addresses only.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| !is_private(address.ip())).collect();
            if public.is_empty() {
                return Err(
                    "the name leads to private addresses alone; webhooks.allow_private would permit them".into()
                );
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is none of the public internet's.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_private_v4(v4),
        IpAddr::V6(v6) => is_private_v6(v6),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        // This network; shared (RFC 6598); protocol assignments; benchmarks (RFC 2544); reserved, and broadcast.
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    // The well-known prefix of NAT64 (RFC 6052) carries an IPv4 address, as mapped addresses do.
    let embedded = address.to_ipv4_mapped().or_else(|| match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))),
        _ => None,
    });
    embedded.is_some_and(is_private_v4)
        || address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        || matches!(address.segments(), [0x2001, 0xdb8, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_known_in_every_form() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fd00::1",
            "fe80::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn urls_that_lead_inside_are_refused() {
        let settings = WebhookSettings { secret: Some("x".into()), allow_private: false };
        for refused in [
            "http://127.0.0.1/",
            "http://[::1]/",
            "http://0x7f.1/",
            "ftp://example.com/",
            "/path",
            "https://user:secret@example.com/",
        ] {
            assert!(check_url(refused, &settings).is_err(), "{refused}");
        }
        assert!(check_url("https://example.com/hooks", &settings).is_ok());
        let allowing = WebhookSettings { allow_private: true, ..settings };
        assert!(check_url("http://127.0.0.1:9/", &allowing).is_ok());
        assert!(check_url("https://example.com/", &WebhookSettings::default()).is_err());
    }

    /// The example of the Standard Webhooks specification.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let key = read_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = DateTime::from_timestamp(1_614_265_330, 0).unwrap();
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, r#"{"test": 2432232314}"#).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
