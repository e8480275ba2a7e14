//! Webhook URLs.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The URL of a webhook. It may contain a secret, so its `Debug` form is redacted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct WebhookUrl(String);

impl WebhookUrl {
    /// A URL that was checked when it was stored.
    pub fn stored(url: String) -> Self {
        Self(url)
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookUrl([REDACTED])")
    }
}
