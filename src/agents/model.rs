//! The agents of this installation.

use std::sync::Arc;

use anyhow::Context;

use crate::{
    config::AgentSettings,
    http::Problem,
    llm::{ModelInfo, Models},
};

/// An agent that is ready to run.
#[derive(Clone, Debug)]
pub struct Agent {
    pub name: String,
    /// The name of its model in [`Models`].
    pub model: String,
    pub model_info: ModelInfo,
    pub settings: AgentSettings,
}

impl Agent {
    pub fn new(settings: AgentSettings, model: String, model_info: ModelInfo) -> Self {
        let name = settings.name.clone().unwrap_or_else(|| settings.id.clone());
        Self { name, model, model_info, settings }
    }

    /// The name of the model that learns memories.
    pub fn memory_model(&self) -> &str {
        self.settings.memory.model.as_deref().unwrap_or(&self.model)
    }
}

/// All agents, in the order of the settings.
#[derive(Clone, Debug, Default)]
pub struct Agents(Vec<Arc<Agent>>);

impl Agents {
    /// Joins the declared agents with their models; one that names none gets `default_model`.
    pub fn new(declared: &[AgentSettings], models: &Models, default_model: &str) -> anyhow::Result<Self> {
        let agents = declared.iter().map(|settings| {
            let model = settings.model.as_deref().unwrap_or(default_model);
            let info = models.info(model).with_context(|| format!("agent {} names no known model", settings.id))?;
            Ok(Arc::new(Agent::new(settings.clone(), model.to_owned(), info.clone())))
        });
        agents.collect::<anyhow::Result<_>>().map(Self)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Agent>> {
        self.0.iter()
    }

    pub fn get(&self, id: &str) -> Result<Arc<Agent>, Problem> {
        self.0.iter().find(|agent| agent.settings.id == id).cloned().ok_or_else(|| {
            Problem::not_found(format!("Agent not found: there is no '{id}'; GET /agents lists those that there are"))
        })
    }
}
