//! What a run that has ended does to its user's memories.
use sqlx::PgConnection;

use super::{
    change::{self, Author, Change},
    extraction,
    model::Source,
    store,
};
use crate::{app::App, auth::UserId, clock, config::AgentSettings, sessions::SessionId};

/// What becomes of the user's memories with a run that settles, and after it.
#[derive(Debug)]
pub struct AfterRun {
    user_id: UserId,
    agent_id: String,
    /// What the agent's tools were asked to remember and forget.
    changes: Vec<Change>,
    /// Whether the run is to be learned from later.
    pub is_learned_from: bool,
}

impl AfterRun {
    /// `None`: there is nothing to do, as for a run without a user.
    pub fn new(settings: &AgentSettings, user: Option<&UserId>, changes: Vec<Change>) -> Option<Self> {
        let is_learned_from = extraction::is_on(settings);
        let user_id = user.filter(|_| is_learned_from || !changes.is_empty())?.clone();
        Some(Self { user_id, agent_id: settings.id.clone(), changes, is_learned_from })
    }

    /// Whose memories.
    pub fn user(&self) -> &UserId {
        &self.user_id
    }

    pub fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Makes the changes, in the transaction that settles the run.
    pub async fn store(
        &self,
        app: &App,
        connection: &mut PgConnection,
        session_id: &SessionId,
        seq: i64,
    ) -> Result<(), sqlx::Error> {
        if !self.has_changes() {
            return Ok(());
        }
        store::lock_user(connection, &self.user_id).await?;
        let sources = [Source { session_id: session_id.clone(), seq }];
        let author = Author {
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
