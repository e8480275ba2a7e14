//! The effects of a finished run on its user's memories.
use sqlx::PgConnection;

use super::{
    change::{self, Author, Change},
    extraction, store,
};
use crate::{
    app::App,
    clock,
    config::AgentSettings,
    model::{SessionId, TenantId, UserId, memory::Source},
};

/// What to do with the user's memories when a run settles, and afterwards.
#[derive(Debug)]
pub struct AfterRun {
    user_id: UserId,
    agent_id: String,
    /// The changes that the agent's memory tools requested.
    changes: Vec<Change>,
    /// Whether memories are to be extracted from the run later.
    pub is_learned_from: bool,
}

impl AfterRun {
    /// `None` if there is nothing to do, as for a run without a user.
    pub fn new(settings: &AgentSettings, user: Option<&UserId>, changes: Vec<Change>) -> Option<Self> {
        let is_learned_from = extraction::is_on(settings);
        let user_id = user.filter(|_| is_learned_from || !changes.is_empty())?.clone();
        Some(Self { user_id, agent_id: settings.id.clone(), changes, is_learned_from })
    }

    /// The user whose memories are affected.
    pub fn user(&self) -> &UserId {
        &self.user_id
    }

    pub fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Applies the changes, in the transaction that settles the run.
    pub async fn store(
        &self,
        app: &App,
        connection: &mut PgConnection,
        tenant: &TenantId,
        session_id: &SessionId,
        seq: i64,
    ) -> Result<(), sqlx::Error> {
        if !self.has_changes() {
            return Ok(());
        }
        store::lock_user(connection, tenant, &self.user_id).await?;
        // The agent's tools act on what the user said.
        let sources = [Source { session_id: session_id.clone(), seq, index: 0 }];
        let author = Author {
            tenant_id: tenant,
            user_id: &self.user_id,
            agent_id: Some(&self.agent_id),
            sources: &sources,
            text_config: &app.settings.search.text_config,
            at: clock::now(),
        };
        for change in &self.changes {
            change::apply(connection, &author, change).await?;
        }
        Ok(())
    }
}
