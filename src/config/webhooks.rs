//! Webhooks.

use secrecy::SecretString;
use serde::Deserialize;

/// Webhooks, which report the end of a run to its `webhook_url`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookSettings {
    /// The signing key, in the format of Standard Webhooks: `whsec_` and 24 to 64 bytes in base64. Without it,
    /// `webhook_url` is refused.
    pub secret: Option<SecretString>,
    /// Whether webhooks may be sent to this machine or a private network.
    pub allow_private: bool,
}
