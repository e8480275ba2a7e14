//! API keys of the providers: which environment variable holds one, and what to do if it is not set.
//!
//! *Architecture Invariant:* keys are read only here, kept as a [`SecretString`], and never appear in settings, logs or
//! errors.

use anyhow::bail;
use secrecy::SecretString;

use crate::config::{ModelSettings, Provider};

/// Reads a variable of the process environment; an empty one counts as unset.
#[expect(clippy::disallowed_methods, reason = "keys are the one thing that is read outside of config::Settings")]
pub(super) fn from_environment(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok()?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// The variable that a provider's own tools read; `None` where no key is needed.
pub(super) fn usual_variable(provider: Provider) -> Option<&'static str> {
    match provider {
        Provider::OpenAi => Some("OPENAI_API_KEY"),
        Provider::Anthropic => Some("ANTHROPIC_API_KEY"),
        Provider::Gemini => Some("GEMINI_API_KEY"),
        Provider::Ollama | Provider::Offline => None,
    }
}

/// Finds the key of the model with the settings at `path`. A missing key is an error only for a hosted provider: a
/// model with its own `base_url` may go without one, as local servers do, and so may Ollama.
pub(super) fn find_key(
    path: &str,
    settings: &ModelSettings,
    lookup: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Option<SecretString>> {
    let configured = settings.api_key_env.as_deref();
    let Some(variable) = configured.or(usual_variable(settings.provider)) else {
        return Ok(None);
    };
    if let Some(key) = lookup(variable) {
        return Ok(Some(SecretString::from(key)));
    }
    if settings.base_url.is_none() && settings.provider != Provider::Ollama {
        bail!(
            "{path} has no key: the environment variable {variable} is not set. Set it, or name another variable in \
             {path}.api_key_env, or set {path}.base_url to a server that needs no key."
        );
    }
    tracing::warn!(setting = path, variable, "The variable of the model's key is not set: calling without a key.");
    Ok(None)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn nothing_is_set(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn the_named_variable_comes_before_the_usual_one() {
        let mut settings = ModelSettings::new(Provider::OpenAi, "m");
        let lookup = |variable: &str| Some(format!("key from {variable}"));
        let key = |settings: &ModelSettings| find_key("models.fast", settings, lookup).unwrap().unwrap();
        assert_eq!(key(&settings).expose_secret(), "key from OPENAI_API_KEY");
        settings.api_key_env = Some("TEAM_KEY".into());
        assert_eq!(key(&settings).expose_secret(), "key from TEAM_KEY");
    }

    #[test]
    fn a_hosted_model_without_a_key_is_refused_with_the_setting_and_the_variable() {
        let settings = ModelSettings::new(Provider::Anthropic, "m");
        let error = find_key("models.careful", &settings, nothing_is_set).unwrap_err().to_string();
        assert!(error.contains("models.careful.api_key_env"), "{error}");
        assert!(error.contains("ANTHROPIC_API_KEY"), "{error}");
    }

    #[test]
    fn a_server_of_ones_own_needs_no_key() {
        let mut settings = ModelSettings::new(Provider::OpenAi, "m");
        settings.base_url = Some("http://127.0.0.1:9099/v1".into());
        assert!(find_key("models.local", &settings, nothing_is_set).unwrap().is_none());
        let ollama = ModelSettings::new(Provider::Ollama, "m");
        assert!(find_key("models.local", &ollama, nothing_is_set).unwrap().is_none());
    }
}
