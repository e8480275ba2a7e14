//! Validation of the settings, once at start. Every error contains the key, the remedy and, unless it may hold a
//! secret, the value.

use std::{collections::HashSet, time::Duration};

use anyhow::{bail, ensure};

use super::{AgentSettings, HistorySettings, MAX_HISTORY_RUNS, ModelSettings, Provider, Settings, check_schema};
use crate::text;

/// The agent that exists if none is declared. It has summaries and memories.
const DEFAULT_AGENT: &str = "assistant";

/// A lower limit is too short for any summary.
const MIN_SUMMARY_TOKENS: u32 = 50;
/// A lower limit would summarize each run separately.
const MIN_RUNS: u32 = 2;
/// A lower limit would leave nothing of a message but the mark that it was shortened.
const MIN_MESSAGE_TOKENS: u32 = 100;
/// Maximum of `jobs.model_pause`: the pause is doubled up to five times.
const LONGEST_MODEL_PAUSE: Duration = Duration::from_hours(1);

impl Settings {
    pub(super) fn fill_defaults(&mut self) {
        if self.agents.is_empty() {
            self.agents.push(AgentSettings {
                id: DEFAULT_AGENT.into(),
                name: Some("Assistant".into()),
                description: Some("A helpful assistant.".into()),
                enable_session_summaries: true,
                update_memory_on_run: true,
                ..AgentSettings::default()
            });
        }
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.database.max_connections >= 2,
            "database.max_connections is {}; at least 2 are needed",
            self.database.max_connections
        );
        let is_postgres = |url: &str| url.starts_with("postgres://") || url.starts_with("postgresql://");
        ensure!(
            self.database.url.as_deref().is_none_or(is_postgres),
            "database.url (or DATABASE_URL) does not begin with postgres://; give it as \
             postgres://user:password@host:5432/database, or leave it out to use the embedded PostgreSQL"
        );
        if let Some(url) = &self.database.direct_url {
            ensure!(
                is_postgres(url),
                "database.direct_url does not begin with postgres://; give it as postgres://user:password@host:5432/database"
            );
            ensure!(
                self.database.url.is_some(),
                "database.direct_url stands beside database.url; set that too, or leave both out"
            );
        }
        if let Some(schema) = &self.database.schema {
            check_schema(schema)?;
        }
        ensure!(
            self.runs.max_queued_per_user > 0,
            "runs.max_queued_per_user is 0, so that no background run could be accepted; use at least 1"
        );
        let search = &self.search;
        ensure!(
            search.k1.is_finite() && search.k1 >= 0.0 && (0.0..=1.0).contains(&search.b),
            "search.k1 is {} and search.b is {}; k1 is at least 0, b is 0 to 1",
            search.k1,
            search.b
        );
        search.embeddings.check(&search.weights)?;
        let pause = self.jobs.model_pause;
        ensure!(
            !pause.is_zero() && pause <= LONGEST_MODEL_PAUSE,
            "jobs.model_pause is {pause:?}; give more than zero, such as \"30s\", and at most an hour"
        );
        self.server.check()?;
        Self::check_history("history", self.history)?;
        for (name, model) in &self.models {
            self.check_model(name, model)?;
        }
        let mut seen = HashSet::new();
        for (index, agent) in self.agents.iter().enumerate() {
            self.check_agent(index, agent)?;
            ensure!(
                seen.insert(agent.id.as_str()),
                "agents[{index}].id \"{}\" is declared twice; give each agent an id of its own",
                agent.id
            );
        }
        Ok(())
    }

    fn check_model(&self, name: &str, model: &ModelSettings) -> anyhow::Result<()> {
        ensure!(
            !model.id.trim().is_empty() || model.provider == Provider::Offline,
            "models.{name}.id is empty; give the provider's name of the model, for example \"gpt-4o-mini\""
        );
        if let Some(url) = &model.base_url {
            let is_http = reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            ensure!(
                is_http,
                "models.{name}.base_url \"{url}\" is no http(s) URL; give one such as http://127.0.0.1:11434/v1"
            );
        }
        ensure!(!model.timeout.is_zero(), "models.{name}.timeout is zero; give a duration such as \"120s\"");
        for fallback in &model.fallbacks {
            ensure!(
                fallback != name && self.models.contains_key(fallback),
                "models.{name}.fallbacks names \"{fallback}\"; name another model of [models]: {}",
                self.model_names()
            );
        }
        Ok(())
    }

    fn check_agent(&self, index: usize, agent: &AgentSettings) -> anyhow::Result<()> {
        let is_path_segment = !agent.id.is_empty()
            && agent.id.len() <= 128
            && agent.id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        ensure!(
            is_path_segment,
            "agents[{index}].id \"{}\" cannot stand in a URL; use 1 to 128 letters, digits, '-', '_' or '.'",
            agent.id
        );
        if let Some(session_id) = &agent.session_id
            && let Err(error) = text::check_id(session_id)
        {
            bail!("agents[{index}].session_id {session_id:?} {error}");
        }
        ensure!(
            agent.num_history_runs <= MAX_HISTORY_RUNS,
            "agents[{index}].num_history_runs is {}; use at most {MAX_HISTORY_RUNS}",
            agent.num_history_runs
        );
        Self::check_history(&format!("agents[{index}].history"), agent.history.over(self.history))?;
        let summary = &agent.session_summary;
        ensure!(
            summary.max_tokens >= MIN_SUMMARY_TOKENS,
            "agents[{index}].session_summary.max_tokens is {}; use at least {MIN_SUMMARY_TOKENS}",
            summary.max_tokens
        );
        if let Some(model) = summary.model.as_ref().filter(|model| !self.models.contains_key(*model)) {
            bail!(
                "agents[{index}].session_summary.model \"{model}\" is no model of [models] ({}); name one of these, or \
                 leave it out to use the agent's own",
                self.model_names()
            );
        }
        if let Some(model) = &agent.memory.model {
            ensure!(
                self.models.contains_key(model),
                "agents[{index}].memory.model \"{model}\" is no model of [models] ({}); declare it, or leave it out",
                self.model_names()
            );
        }
        match &agent.model {
            Some(model) if !self.models.contains_key(model) => bail!(
                "agents[{index}].model \"{model}\" is no model of [models] ({}); declare [models.{model}] or \
                 name one of these",
                self.model_names()
            ),
            None if self.models.len() > 1 => bail!(
                "agents[{index}] (\"{}\") names no model and there are several; set agents[{index}].model to one of {}",
                agent.id,
                self.model_names()
            ),
            _ => Ok(()),
        }
    }

    fn check_history(key: &str, limits: HistorySettings) -> anyhow::Result<()> {
        let HistorySettings { high_tokens, low_tokens, max_runs, max_tokens, max_message_tokens } = limits;
        ensure!(
            low_tokens < high_tokens && high_tokens <= max_tokens,
            "{key} has low_tokens {low_tokens}, high_tokens {high_tokens} and max_tokens {max_tokens}; low_tokens has to \
             be below high_tokens, and high_tokens at most max_tokens"
        );
        ensure!(
            (MIN_RUNS..=MAX_HISTORY_RUNS).contains(&max_runs),
            "{key}.max_runs is {max_runs}; use {MIN_RUNS} to {MAX_HISTORY_RUNS}"
        );
        ensure!(
            max_message_tokens >= MIN_MESSAGE_TOKENS,
            "{key}.max_message_tokens is {max_message_tokens}; use at least {MIN_MESSAGE_TOKENS}"
        );
        Ok(())
    }

    fn model_names(&self) -> String {
        if self.models.is_empty() {
            return "none is declared".into();
        }
        self.models.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(agents: Vec<AgentSettings>) -> Settings {
        let models = [("fast", "gpt-4o-mini"), ("good", "gpt-4o")]
            .map(|(name, id)| (name.to_owned(), ModelSettings::new(Provider::OpenAi, id)));
        Settings { agents, models: models.into(), ..Settings::default() }
    }

    fn agent(id: &str, model: Option<&str>) -> AgentSettings {
        AgentSettings { id: id.into(), model: model.map(Into::into), ..AgentSettings::default() }
    }

    fn refusal(settings: &Settings) -> String {
        settings.check().expect_err("the settings should be refused").to_string()
    }

    #[test]
    fn an_agent_of_an_unknown_model_is_refused() {
        let message = refusal(&settings(vec![agent("a", Some("quick"))]));
        assert!(message.contains("agents[0].model \"quick\"") && message.contains("fast, good"), "{message}");
    }

    #[test]
    fn an_agent_must_choose_among_several_models() {
        assert!(refusal(&settings(vec![agent("a", None)])).contains("names no model"));
    }

    #[test]
    fn ids_are_unique_and_fit_a_url() {
        assert!(
            refusal(&settings(vec![agent("a", Some("fast")), agent("a", Some("fast"))])).contains("declared twice")
        );
        assert!(refusal(&settings(vec![agent("a/b", Some("fast"))])).contains("cannot stand in a URL"));
    }

    #[test]
    fn low_water_is_below_high_water() {
        let mut settings = settings(vec![agent("a", Some("fast"))]);
        settings.agents[0].history.low_tokens = Some(3_200);
        assert!(refusal(&settings).contains("agents[0].history has low_tokens 3200"));
        settings.agents[0].history.low_tokens = None;
        settings.agents[0].session_summary.model = Some("slow".into());
        assert!(refusal(&settings).contains("session_summary.model \"slow\""));
    }

    #[test]
    fn the_runs_after_a_summary_are_bounded() {
        let mut settings = settings(vec![agent("a", Some("fast"))]);
        for max_runs in [0, 1, MAX_HISTORY_RUNS + 1] {
            settings.history.max_runs = max_runs;
            assert!(refusal(&settings).contains("history.max_runs is"), "{max_runs}");
        }
    }

    #[test]
    fn a_session_of_its_own_has_an_id_as_callers_have_to_give_it() {
        let mut settings = settings(vec![agent("a", Some("fast"))]);
        for id in ["", "line\nbreak", &"x".repeat(256)] {
            settings.agents[0].session_id = Some(id.into());
            assert!(refusal(&settings).contains("agents[0].session_id"), "{id:?}");
        }
        settings.agents[0].session_id = Some("user_123_session".into());
        settings.check().unwrap();
    }

    #[test]
    fn the_agent_that_nobody_declared_remembers_and_a_declared_one_does_as_it_is_told() {
        let mut settings = Settings::default();
        settings.fill_defaults();
        assert!(settings.agents[0].enable_session_summaries && settings.agents[0].update_memory_on_run);
        let declared = AgentSettings::default();
        assert!(!declared.enable_session_summaries && !declared.update_memory_on_run);
    }

    #[test]
    fn an_origin_has_no_path() {
        let mut settings = settings(vec![agent("a", Some("fast"))]);
        settings.server.cors_origins = vec!["http://localhost:3000".into(), "http://b.example/".into()];
        assert!(refusal(&settings).contains("http://b.example/"));
    }

    #[test]
    fn a_fallback_must_be_another_model() {
        let mut settings = settings(vec![agent("a", Some("fast"))]);
        settings.models.get_mut("fast").unwrap().fallbacks = vec!["fast".into()];
        assert!(refusal(&settings).contains("models.fast.fallbacks"));
    }

    #[test]
    fn the_database_url_is_not_repeated_in_a_refusal() {
        let mut settings = settings(vec![agent("a", Some("fast"))]);
        settings.database.url = Some("mysql://root:hunter2@db".into());
        assert!(!refusal(&settings).contains("hunter2"));
    }
}
