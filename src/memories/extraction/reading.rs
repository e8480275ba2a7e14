//! How the unread turns of a user are read, and what that may cost.
//!
//! New turns are read several in one call. Where no answer to these can be used, each of them is read alone, so that the
//! one to blame keeps no other back. It is tried again later, alone and after what is new, and is set aside after
//! [`MOST_ATTEMPTS`]. So a turn costs a bounded number of calls, whatever the model answers and however many turns come.
//!
//! A model that gives no answer is another matter: only while it answers others is the turn to blame. Otherwise the turns
//! keep their attempts, and the breaker of [`ask`](crate::sessions::ask) bounds what is asked.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{remember, study};
use crate::{
    app::App,
    auth::UserId,
    database,
    jobs::{self, Job, Later},
    memories::store::{self, Turn},
    sessions::ask::AskError,
};

/// After so many failed attempts a turn is set aside.
const MOST_ATTEMPTS: i16 = 3;
/// How long a turn waits for its next attempt.
const PAUSE: Duration = Duration::from_mins(1);
/// How many turns are tried again by one job.
const TRIED_AT_ONCE: i64 = 100;

/// The job: reads the user's unread turns. Safe to be done twice at once: a turn is read by whoever stores first.
pub async fn learn(app: &Arc<App>, user: &UserId) -> anyhow::Result<()> {
    let mut reading = Reading { app, user, alone: VecDeque::new(), resting: Vec::new(), later: None };
    let mut turns = reading.new_turns().await?;
    let has_new = !turns.is_empty();
    if !has_new {
        reading.alone = store::tried_turns(&app.db, user, TRIED_AT_ONCE).await?.into();
    }
    loop {
        while let Some(turn) = reading.alone.pop_front() {
            reading.read(vec![turn]).await?;
        }
        if turns.is_empty() {
            turns = reading.new_turns().await?;
        }
        if turns.is_empty() {
            break;
        }
        reading.read(std::mem::take(&mut turns)).await?;
    }
    reading.end().await
}

struct Reading<'a> {
    app: &'a Arc<App>,
    user: &'a UserId,
    /// Turns that are to be read one by one now.
    alone: VecDeque<Turn>,
    /// Agents whose model is left alone.
    resting: Vec<String>,
    /// When and why the job has to come back.
    later: Option<Later>,
}

impl Reading<'_> {
    /// The turns for one call: those of one agent.
    async fn new_turns(&self) -> Result<Vec<Turn>, sqlx::Error> {
        let at_once = i64::from(self.app.settings.memories.turns_per_call);
        let mut turns = store::new_turns(&self.app.db, self.user, &self.resting, at_once).await?;
        if let Some(agent_id) = turns.first().map(|turn| turn.agent_id.clone()) {
            turns.retain(|turn| turn.agent_id == agent_id);
        }
        Ok(turns)
    }

    async fn read(&mut self, turns: Vec<Turn>) -> anyhow::Result<()> {
        let Some(agent_id) = turns.first().map(|turn| turn.agent_id.clone()) else { return Ok(()) };
        if self.resting.contains(&agent_id) {
            return Ok(());
        }
        // An agent that is no longer declared has no model to ask.
        let lessons = match self.app.agents.get(&agent_id) {
            Ok(agent) => study(self.app, &agent, Some(self.user), &turns, false).await,
            Err(_) => Ok(Vec::new()),
        };
        let error = match lessons {
            Ok(lessons) => return remember(self.app, self.user, &turns, &lessons).await,
            Err(error) => error,
        };
        let is_shared = turns.len() > 1;
        match error.downcast_ref::<AskError>() {
            Some(AskError::Model { retry_in: None, .. }) if is_shared => {}
            // An answer that cannot be used is paid for: it counts for every turn that it was about.
            Some(AskError::Unusable(_) | AskError::Model { retry_in: None, .. }) => {
                self.count_attempt(&turns, &error).await?;
            }
            Some(failure) => {
                let Some(later) = failure.later() else { return Err(error) };
                self.resting.push(agent_id);
                self.come_back(later);
                return Ok(());
            }
            None => return Err(error),
        }
        if is_shared {
            self.alone.extend(turns);
        }
        Ok(())
    }

    async fn count_attempt(&mut self, turns: &[Turn], error: &anyhow::Error) -> Result<(), sqlx::Error> {
        let reason = format!("{error:#}");
        let mut tx = database::begin(&self.app.db).await?;
        // Whoever erases the user is waited for, and has left nothing.
        store::lock_user(&mut tx, self.user).await?;
        if store::count_attempt(&mut tx, self.user, turns, MOST_ATTEMPTS).await? > 0 {
            let reason = format!(
                "Nothing could be learned from some of the user's turns in {MOST_ATTEMPTS} attempts: they are set aside \
                 until this job is retried. The last time: {reason}"
            );
            jobs::park(self.app, &mut tx, &Job::LearnAgain { user_id: self.user.clone() }, &reason).await?;
        }
        tx.commit().await?;
        self.come_back(Later { after: PAUSE, reason: format!("Some turns are tried again later. {reason}") });
        Ok(())
    }

    /// The soonest time holds.
    fn come_back(&mut self, later: Later) {
        if self.later.as_ref().is_none_or(|known| later.after < known.after) {
            self.later = Some(later);
        }
    }

    async fn end(self) -> anyhow::Result<()> {
        let is_resting = !self.resting.is_empty();
        if !is_resting && store::tried_turns(&self.app.db, self.user, 1).await?.is_empty() {
            return Ok(());
        }
        let reason = "Some turns that nothing could be learned from are tried again later.".to_owned();
        Err(self.later.unwrap_or(Later { after: PAUSE, reason }).into())
    }
}
