//! Choosing a model if none is configured, so that the server answers from its first start.

use std::time::Duration;

use serde::Deserialize;

use super::credentials;
use crate::config::{ModelSettings, Provider};

/// Hosted providers in the order in which their keys are looked for, each with a small, inexpensive and fast model that
/// supports tools: good enough for every task here, and no surprise on the bill.
const HOSTED: [(&str, Provider, &str); 3] = [
    ("openai", Provider::OpenAi, "gpt-4o-mini"),
    ("anthropic", Provider::Anthropic, "claude-haiku-4-5"),
    ("gemini", Provider::Gemini, "gemini-2.5-flash"),
];

const LOCAL_OLLAMA: &str = "http://127.0.0.1:11434";

/// Timeout for the local Ollama. A local server answers at once or does not run; the start must not wait for it.
const OLLAMA_PATIENCE: Duration = Duration::from_millis(300);

/// The name and settings of the model to use if none is configured: the first hosted provider whose key is in the
/// environment, else the first model of a local Ollama, else the built-in offline responder.
pub async fn detect(http: &reqwest::Client) -> (String, ModelSettings) {
    detect_with(http, credentials::from_environment, LOCAL_OLLAMA).await
}

async fn detect_with(
    http: &reqwest::Client,
    lookup: impl Fn(&str) -> Option<String>,
    ollama: &str,
) -> (String, ModelSettings) {
    if let Some((name, settings)) = hosted(lookup) {
        return (name, settings);
    }
    if let Some(id) = first_ollama_model(http, ollama).await {
        tracing::info!(model.id = id, "No model is configured: using the first model of the local Ollama.");
        return ("ollama".into(), ModelSettings::new(Provider::Ollama, id));
    }
    tracing::warn!(
        "No model is configured and no key is set: the built-in offline responder answers. Set OPENAI_API_KEY, \
         ANTHROPIC_API_KEY or GEMINI_API_KEY, or start Ollama, to use a real model."
    );
    ("offline".into(), ModelSettings::new(Provider::Offline, "offline"))
}

fn hosted(lookup: impl Fn(&str) -> Option<String>) -> Option<(String, ModelSettings)> {
    HOSTED.into_iter().find_map(|(name, provider, id)| {
        let variable = credentials::usual_variable(provider)?;
        lookup(variable)?;
        tracing::info!(model.id = id, variable, "No model is configured: using the provider whose key is set.");
        Some((name.to_owned(), ModelSettings::new(provider, id)))
    })
}

#[derive(Deserialize)]
struct Tags {
    models: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
}

async fn first_ollama_model(http: &reqwest::Client, base: &str) -> Option<String> {
    let response = http.get(format!("{base}/api/tags")).timeout(OLLAMA_PATIENCE).send().await.ok()?;
    let tags: Tags = response.error_for_status().ok()?.json().await.ok()?;
    Some(tags.models.into_iter().next()?.name)
}

#[cfg(test)]
mod tests {
    use axum::{Json, Router, routing::get};
    use serde_json::{Value, json};

    use super::*;
    use crate::llm::http_client;

    const NOBODY_HOME: &str = "http://127.0.0.1:9";

    fn nothing_is_set(_: &str) -> Option<String> {
        None
    }

    async fn ollama_with(tags: Value) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().route("/api/tags", get(move || async move { Json(tags) }));
        let server = axum::serve(listener, routes);
        #[expect(clippy::disallowed_methods, reason = "the server ends with the test's runtime")]
        tokio::spawn(server.into_future());
        base
    }

    #[tokio::test]
    async fn the_first_key_that_is_set_decides() {
        let http = http_client().unwrap();
        let lookup = |variable: &str| (variable != "OPENAI_API_KEY").then(|| "key".to_owned());
        let (name, settings) = detect_with(&http, lookup, NOBODY_HOME).await;
        assert_eq!((name.as_str(), settings.provider), ("anthropic", Provider::Anthropic));
    }

    #[tokio::test]
    async fn a_local_ollama_gives_its_first_model() {
        let base = ollama_with(json!({"models": [{"name": "qwen3:4b", "size": 1}, {"name": "b"}]})).await;
        let (name, settings) = detect_with(&http_client().unwrap(), nothing_is_set, &base).await;
        assert_eq!((name.as_str(), settings.id.as_str()), ("ollama", "qwen3:4b"));
    }

    #[tokio::test]
    async fn an_ollama_without_models_does_not_count() {
        let base = ollama_with(json!({"models": []})).await;
        let (name, _) = detect_with(&http_client().unwrap(), nothing_is_set, &base).await;
        assert_eq!(name, "offline");
    }

    #[tokio::test]
    async fn with_nothing_around_the_offline_responder_answers() {
        let (name, settings) = detect_with(&http_client().unwrap(), nothing_is_set, NOBODY_HOME).await;
        assert_eq!((name.as_str(), settings.provider), ("offline", Provider::Offline));
    }
}
