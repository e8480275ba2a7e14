//! The `llm` room against real HTTP: a scripted model server answers, in OpenAI's form and in the others'.

mod failures;
mod hostile;
mod providers;
mod talking;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::support::scripted_model::{self, ScriptedModel};
use colloquy::testing::{
    config::{ModelSettings, Provider},
    llm::{ModelRequest, Models, PromptMessage, http_client},
};

/// A word of the prompt that must never be seen in an error.
const SECRET_WORD: &str = "xylophone";

/// The key that every variable holds but [`UNSET`].
const KEY: &str = "sk-scripted";
const UNSET: &str = "UNSET_KEY";

/// A model that calls the scripted server and does not repeat a failed call.
fn settings(server: &ScriptedModel) -> ModelSettings {
    ModelSettings {
        base_url: Some(server.base_url()),
        api_key_env: Some("SCRIPTED_KEY".into()),
        max_retries: 0,
        timeout: Duration::from_secs(5),
        ..ModelSettings::new(Provider::OpenAi, "scripted")
    }
}

fn models<const N: usize>(settings: [(&str, ModelSettings); N]) -> Models {
    let settings: BTreeMap<_, _> = settings.into_iter().map(|(name, settings)| (name.to_owned(), settings)).collect();
    let http = http_client().expect("an HTTP client");
    let lookup = |variable: &str| (variable != UNSET).then(|| KEY.to_owned());
    Models::with_keys(&settings, &http, lookup).expect("the settings are right")
}

/// One model named `fast` with the settings of [`settings`], changed by `change`.
fn fast(server: &ScriptedModel, change: impl FnOnce(&mut ModelSettings)) -> Models {
    let mut settings = settings(server);
    change(&mut settings);
    models([("fast", settings)])
}

fn unchanged(_: &mut ModelSettings) {}

fn user(content: &str) -> ModelRequest {
    ModelRequest { messages: vec![PromptMessage::User(content.into())], ..ModelRequest::default() }
}

async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let started = Instant::now();
    let result = call.await;
    (result, started.elapsed())
}
