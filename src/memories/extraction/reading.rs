//! Reads the unread turns of a user, at a bounded cost.
//!
//! New turns are read in batches, several per call. If the answer to a batch is unusable, each of its turns is read
//! alone, so that one bad turn does not block the others. A turn that fails is retried later, alone and after all new
//! turns. After [`MOST_ATTEMPTS`] it is set aside. The number of calls per turn is thus bounded, whatever the model
//! answers and however many turns arrive.
//!
//! A model that does not answer at all is different: the turn is to blame only if the model answers other requests.
//! Otherwise the turns keep their attempts, and the circuit breaker of [`ask`](crate::usage::ask) limits the calls.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{remember, study};
use crate::{
    app::App,
    database,
    jobs::{self, Job, Later},
    memories::store::{self, Turn},
    model::{TenantId, UserId},
    usage::ask::AskError,
};

/// Failed attempts after which a turn is set aside.
const MOST_ATTEMPTS: i16 = 3;
/// Pause before the next attempt for a turn.
const PAUSE: Duration = Duration::from_mins(1);
/// How many failed turns one job retries.
const TRIED_AT_ONCE: i64 = 100;

/// The job: reads the user's unread turns. Safe to run concurrently: a turn counts for the worker that commits first.
pub async fn learn(app: &Arc<App>, tenant: &TenantId, user: &UserId) -> anyhow::Result<()> {
    let mut reading = Reading { app, tenant, user, alone: VecDeque::new(), resting: Vec::new(), later: None };
    let mut turns = reading.new_turns().await?;
    let has_new = !turns.is_empty();
    if !has_new {
        reading.alone = store::tried_turns(&app.db, tenant, user, TRIED_AT_ONCE).await?.into();
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
    tenant: &'a TenantId,
    user: &'a UserId,
    /// Turns to be read one by one now.
    alone: VecDeque<Turn>,
    /// Agents whose model does not answer; skipped for the rest of this job.
    resting: Vec<String>,
    /// When the job must run again, and why.
    later: Option<Later>,
}

impl Reading<'_> {
    /// The turns for the next call: new ones, all of one agent.
    async fn new_turns(&self) -> Result<Vec<Turn>, sqlx::Error> {
        let at_once = i64::from(self.app.settings.memories.turns_per_call);
        let mut turns = store::new_turns(&self.app.db, self.tenant, self.user, &self.resting, at_once).await?;
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
        // An agent that is no longer configured has no model to ask: its turns are marked as read.
        let lessons = match self.app.agents.get(&agent_id) {
            Ok(agent) => study(self.app, &agent, self.tenant, Some(self.user), &turns, false).await,
            Err(_) => Ok(Vec::new()),
        };
        let error = match lessons {
            Ok(lessons) => return remember(self.app, self.tenant, self.user, &turns, &lessons).await,
            Err(error) => error,
        };
        let is_shared = turns.len() > 1;
        match error.downcast_ref::<AskError>() {
            Some(AskError::Model { retry_in: None, .. }) if is_shared => {}
            // An unusable answer has cost tokens, so it counts as an attempt for every turn in the call.
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
        // Waits for a concurrent erasure of the user, which leaves no turns.
        store::lock_user(&mut tx, self.tenant, self.user).await?;
        if store::count_attempt(&mut tx, self.tenant, self.user, turns, MOST_ATTEMPTS).await? > 0 {
            let reason = format!(
                "Nothing could be learned from some of the user's turns in {MOST_ATTEMPTS} attempts: they are set aside \
                 until this job is retried. The last time: {reason}"
            );
            let job = Job::LearnAgain { tenant_id: self.tenant.clone(), user_id: self.user.clone() };
            jobs::park(self.app, &mut tx, &job, &reason).await?;
        }
        tx.commit().await?;
        self.come_back(Later { after: PAUSE, reason: format!("Some turns are tried again later. {reason}") });
        Ok(())
    }

    /// Keeps the earliest retry time.
    fn come_back(&mut self, later: Later) {
        if self.later.as_ref().is_none_or(|known| later.after < known.after) {
            self.later = Some(later);
        }
    }

    async fn end(self) -> anyhow::Result<()> {
        let is_resting = !self.resting.is_empty();
        if !is_resting && !store::has_tried_turns(&self.app.db, self.tenant, self.user).await? {
            return Ok(());
        }
        let reason = "Some turns that nothing could be learned from are tried again later.".to_owned();
        Err(self.later.unwrap_or(Later { after: PAUSE, reason }).into())
    }
}
