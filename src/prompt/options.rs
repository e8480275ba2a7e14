//! Which parts a prompt has.

use crate::{
    agents::Agent,
    config::{HistorySettings, MAX_HISTORY_RUNS},
    model::Window,
    runs::spec::Overrides,
};

/// The agent's context settings with a run's overrides laid over them.
#[derive(Clone, Copy, Debug)]
pub struct ContextOptions {
    /// Whether the session's summary goes in. The history then begins right after it.
    pub add_summary: bool,
    /// Whether the session is summarized when its history has grown.
    pub keep_summary: bool,
    /// Maximum number of completed runs in the prompt.
    pub history_runs: u32,
    pub add_session_state: bool,
    pub limits: HistorySettings,
}

impl ContextOptions {
    pub fn new(agent: &Agent, run: &Overrides) -> Self {
        let settings = &agent.settings;
        let add_summary = run
            .add_session_summary_to_context
            .or(settings.add_session_summary_to_context)
            // A run that switches summaries on or off means both keeping and showing them.
            .or(run.enable_session_summaries)
            .unwrap_or(settings.enable_session_summaries);
        let of_agent = if add_summary { MAX_HISTORY_RUNS } else { settings.num_history_runs };
        let add_history = run.add_history_to_context.unwrap_or(settings.add_history_to_context);
        Self {
            add_summary,
            keep_summary: run.enable_session_summaries.unwrap_or(settings.enable_session_summaries),
            history_runs: if add_history { run.num_history_runs.unwrap_or(of_agent) } else { 0 },
            add_session_state: run.add_session_state_to_context.unwrap_or(settings.add_session_state_to_context),
            limits: agent.history,
        }
    }

    /// Whether anything of the session's past has to be read.
    pub fn looks_back(&self) -> bool {
        self.history_runs > 0 || self.add_summary || self.keep_summary
    }

    pub fn window(&self) -> Window {
        match (self.history_runs, self.add_summary) {
            (0, _) => Window::None,
            (_, true) => Window::AfterSummary,
            (_, false) => Window::LastRuns,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{config::AgentSettings, model::ModelInfo};

    fn options(settings: AgentSettings, overrides: Value) -> ContextOptions {
        let model = ModelInfo { id: "m".into(), provider: "offline".into() };
        let agent = Agent::new(settings, HistorySettings::default(), "model".into(), model);
        ContextOptions::new(&agent, &serde_json::from_value(overrides).unwrap())
    }

    #[test]
    fn a_run_may_override_its_agent() {
        let runs = |overrides| options(AgentSettings::default(), overrides).history_runs;
        assert_eq!(runs(json!({})), 3);
        assert_eq!(runs(json!({"num_history_runs": 7})), 7);
        assert_eq!(runs(json!({"num_history_runs": 7, "add_history_to_context": false})), 0);
    }

    #[test]
    fn summaries_can_be_kept_without_being_shown_and_the_other_way_round() {
        let with_summaries = || AgentSettings { enable_session_summaries: true, ..AgentSettings::default() };
        for (overrides, add, keep) in [
            (json!({}), true, true),
            (json!({"add_session_summary_to_context": false}), false, true),
            (json!({"add_session_summary_to_context": false}), false, true),
            (json!({"enable_session_summaries": false}), false, false),
            (json!({"enable_session_summaries": false, "add_session_summary_to_context": true}), true, false),
        ] {
            let options = options(with_summaries(), overrides.clone());
            assert_eq!((options.add_summary, options.keep_summary), (add, keep), "{overrides}");
        }
        assert_eq!(options(with_summaries(), json!({})).window(), Window::AfterSummary);
        assert_eq!(
            options(with_summaries(), json!({"add_session_summary_to_context": false})).window(),
            Window::LastRuns
        );
    }
}
