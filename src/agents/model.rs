//! The configured agents.

use std::sync::Arc;

use anyhow::Context;

use crate::{
    config::{AgentSettings, HistorySettings},
    llm::{Models, count_tokens},
    model::{Error, ModelInfo, SessionId},
};

/// An agent that is ready to run, with its model and limits resolved.
#[derive(Clone, Debug)]
pub struct Agent {
    pub name: String,
    /// The name of its model in [`Models`].
    pub model: String,
    pub model_info: ModelInfo,
    /// The agent's own history limits, or else the general ones.
    pub history: HistorySettings,
    /// The system text that every prompt of the agent begins with.
    pub instructions: Option<String>,
    pub instruction_tokens: usize,
    pub settings: AgentSettings,
}

impl Agent {
    pub fn new(settings: AgentSettings, history: HistorySettings, model: String, model_info: ModelInfo) -> Self {
        let instructions = instructions(&settings);
        Self {
            name: settings.name.clone().unwrap_or_else(|| settings.id.clone()),
            model,
            model_info,
            history: settings.history.over(history),
            instruction_tokens: instructions.as_deref().map_or(0, count_tokens),
            instructions,
            settings,
        }
    }

    /// The default session: for runs that name no session.
    pub fn own_session(&self) -> Option<SessionId> {
        self.settings.session_id.clone().map(SessionId::stored)
    }

    /// The name of the model that writes summaries and titles for the agent's sessions.
    pub fn summary_model(&self) -> &str {
        self.settings.session_summary.model.as_deref().unwrap_or(&self.model)
    }

    /// The name of the model that extracts memories.
    pub fn memory_model(&self) -> &str {
        self.settings.memory.model.as_deref().unwrap_or(&self.model)
    }
}

fn instructions(settings: &AgentSettings) -> Option<String> {
    let parts = [&settings.description, &settings.instructions].into_iter().flatten().map(|part| part.trim());
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join("\n\n"))
}

/// All agents, in the order of the settings.
#[derive(Clone, Debug, Default)]
pub struct Agents(Vec<Arc<Agent>>);

impl Agents {
    /// Resolves the declared agents' models. An agent without a `model` gets `default_model`.
    pub fn new(
        declared: &[AgentSettings],
        history: HistorySettings,
        models: &Models,
        default_model: &str,
    ) -> anyhow::Result<Self> {
        let agents = declared.iter().map(|settings| {
            let model = settings.model.as_deref().unwrap_or(default_model);
            let info = models.info(model).with_context(|| format!("agent {} names no known model", settings.id))?;
            Ok(Arc::new(Agent::new(settings.clone(), history, model.to_owned(), info.clone())))
        });
        agents.collect::<anyhow::Result<_>>().map(Self)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Agent>> {
        self.0.iter()
    }

    pub fn get(&self, id: &str) -> Result<Arc<Agent>, Error> {
        self.0.iter().find(|agent| agent.settings.id == id).cloned().ok_or_else(|| {
            Error::not_found(format!("Agent not found: there is no '{id}'; GET /agents lists those that there are"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_without_words_has_no_instructions() {
        assert_eq!(instructions(&AgentSettings::default()), None);
        let described = AgentSettings {
            description: Some("A cook.".into()),
            instructions: Some("Be brief.\n".into()),
            ..AgentSettings::default()
        };
        assert_eq!(instructions(&described).as_deref(), Some("A cook.\n\nBe brief."));
    }
}
