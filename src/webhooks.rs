//! Webhooks: notify the URL given by the caller that a background run has ended. Signed according to
//! <https://www.standardwebhooks.com>; a failed delivery is retried.
//!
//! *Architecture Invariant:* unless the settings allow it, no webhook goes to this machine or a private network, not
//! even through a name that resolves there: addresses are checked when connecting. Redirects are not followed.
//!
//! *Architecture Invariant:* a URL is a secret of the caller: it is stored with its run until the webhook has been
//! delivered, and is in no job, no log and no response.

mod addresses;
pub mod store;

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{DateTime, SecondsFormat, Utc};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{StatusCode, Url, redirect};
use secrecy::{ExposeSecret, SecretSlice};
use serde_json::json;
use sha2::Sha256;

use self::addresses::{PublicOnly, is_public};
use crate::{
    app::App,
    clock,
    config::WebhookSettings,
    http_client,
    model::{Error, RunId, RunStatus, Scope, TenantId, WebhookUrl},
    runs,
};

const TIMEOUT: Duration = Duration::from_secs(15);
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The HTTP client and the key, created for the first webhook.
#[derive(Debug, Default)]
struct Sender(OnceLock<Webhooks>);

impl Sender {
    fn get(&self, settings: &WebhookSettings) -> anyhow::Result<&Webhooks> {
        if let Some(webhooks) = self.0.get() {
            return Ok(webhooks);
        }
        let new = Webhooks::new(settings)?;
        Ok(self.0.get_or_init(|| new))
    }
}

#[derive(Debug)]
struct Webhooks {
    client: reqwest::Client,
    key: Option<SecretSlice<u8>>,
}

/// Refuses a secret that is not a valid key.
pub fn check_secret(settings: &WebhookSettings) -> anyhow::Result<()> {
    settings.secret.as_ref().map(|secret| read_key(secret.expose_secret())).transpose().map(drop)
}

impl Webhooks {
    fn new(settings: &WebhookSettings) -> anyhow::Result<Self> {
        let mut client = http_client::builder().timeout(TIMEOUT).redirect(redirect::Policy::none());
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

/// Refuses a URL that would never be called.
pub(crate) fn check_url(url: &WebhookUrl, settings: &WebhookSettings) -> Result<(), Error> {
    let reason = if settings.secret.is_none() {
        Some("cannot be honoured: this server has no webhooks.secret to sign with; set one, or leave it out")
    } else {
        reason_to_refuse(url, settings)
    };
    reason.map_or(Ok(()), |reason| Err(Error::invalid("/webhook_url", reason)))
}

fn reason_to_refuse(url: &WebhookUrl, settings: &WebhookSettings) -> Option<&'static str> {
    let Some(url) = Url::parse(url.expose()).ok().filter(|url| matches!(url.scheme(), "http" | "https")) else {
        return Some("is no http(s) URL; give one such as https://example.com/hooks");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Some("holds a user name or password; give a URL without");
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address: Option<IpAddr> = host.parse().ok();
    if !settings.allow_private && address.is_some_and(|address| !is_public(address)) {
        return Some("leads to a private address; give a public one, or set webhooks.allow_private");
    }
    None
}

/// Delivers the webhook of a run, to the URL that is stored with it. An error means another attempt.
pub(crate) async fn deliver(app: &App, tenant: &TenantId, run_id: RunId) -> anyhow::Result<()> {
    let any_run = Scope::System(tenant.clone(), "a webhook tells of any run");
    let Some(run) = runs::store::find(&app.db, &any_run, run_id).await? else { return Ok(()) };
    // Without a URL, it has been delivered already.
    let Some(url) = store::webhook_url(&app.db, tenant, run_id).await? else { return Ok(()) };
    let sender = app.room::<Sender>();
    let webhooks = sender.get(&app.settings.webhooks)?;
    let Some(key) = &webhooks.key else { bail!("webhooks.secret is not set any more; set it and retry this job") };
    // Check again: a literal address bypasses the resolver, and the settings may have changed since.
    if let Some(reason) = reason_to_refuse(&url, &app.settings.webhooks) {
        bail!("the webhook's URL {reason}; then retry this job");
    }
    let now = clock::now();
    let event = match run.status {
        RunStatus::Completed | RunStatus::Regenerated => "run.completed",
        RunStatus::Cancelled => "run.cancelled",
        RunStatus::Error => "run.failed",
        RunStatus::Pending | RunStatus::Running | RunStatus::Paused | RunStatus::Newer(_) => {
            bail!("the run has not ended")
        }
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
    // The same id for each attempt, so that the receiver can deduplicate.
    let id = format!("msg_{run_id}");
    let request = webhooks
        .client
        .post(url.expose())
        .header("content-type", "application/json")
        .header("webhook-id", &id)
        .header("webhook-timestamp", now.timestamp().to_string())
        .header("webhook-signature", signature(key, &id, now, &body)?)
        .body(body);
    let status = request.send().await.map_err(reqwest::Error::without_url)?.status();
    match status {
        // 410 Gone: the receiver wants no more webhooks.
        status if status.is_success() || status == StatusCode::GONE => {
            Ok(store::forget_webhook_url(&app.db, tenant, run_id).await?)
        }
        status => bail!("the webhook was answered with {status}"),
    }
}

fn signature(key: &SecretSlice<u8>, id: &str, at: DateTime<Utc>, body: &str) -> anyhow::Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret())?;
    mac.update(format!("{id}.{}.{body}", at.timestamp()).as_bytes());
    Ok(format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, settings: &WebhookSettings) -> Result<(), Error> {
        check_url(&WebhookUrl::stored(url.to_owned()), settings)
    }

    #[test]
    fn a_url_does_not_print_itself() {
        let url = WebhookUrl::stored("https://example.com/?token=hunter2".to_owned());
        assert!(!format!("{url:?}").contains("hunter2"));
    }

    #[test]
    fn urls_that_lead_inside_are_refused() {
        let settings = WebhookSettings { secret: Some("x".into()), allow_private: false };
        for refused in [
            "http://127.0.0.1/",
            "http://[::1]/",
            "http://0x7f.1/",
            "http://2130706433/",
            "http://[::127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[64:ff9b::127.0.0.1]/",
            "http://[2002:7f00:1::]/",
            "http://[fec0::1]/",
            "ftp://example.com/",
            "/path",
            "https://user:secret@example.com/",
        ] {
            assert!(check(refused, &settings).is_err(), "{refused}");
        }
        assert!(check("https://example.com/hooks", &settings).is_ok());
        let allowing = WebhookSettings { allow_private: true, ..settings };
        assert!(check("http://127.0.0.1:9/", &allowing).is_ok());
        assert!(check("https://example.com/", &WebhookSettings::default()).is_err());
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
