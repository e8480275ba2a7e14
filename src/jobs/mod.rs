//! Durable background jobs, their queue, their schedule and their workers.
//!
//! A job is a row. It is [`enqueue`]d in the transaction that makes it necessary; or after it, if that transaction
//! leaves a row that a scheduled sweep finds. Workers are tokio tasks of any process. A job that fails is retried with
//! exponential backoff; after its last attempt it stays with its error until somebody retries it over `/jobs`. A job
//! that cannot be done now, through no fault of its own, is put back and keeps its attempts ([`Later`]); so is a job of
//! a kind that only a newer build knows. `worker`, above all rooms, dispatches the jobs. Only `queue` names the queue's
//! library; `store` lists its jobs, `store::users` says whom a job is about.
//!
//! *Architecture Invariant:* a job is idempotent, and contains only what to look at: the data that it works on is read
//! when it runs. Jobs with the same key are one job as long as none of them has begun.

pub mod model;
mod queue;
mod schedule;
pub mod store;

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::{RunId, SessionId, TenantId, UserId};

pub use self::queue::{
    count_attempt, enqueue, enqueue_first, enqueue_unless_there, forget, forget_user, has_failed, hasten_learning,
    is_waiting, migrate, park, run_due, spawn_workers, tidy, unpark_learning, users_without_job,
};

/// A background job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Job {
    /// Delete expired data.
    CleanUp,
    /// Delete queues without jobs, and replaced jobs.
    TidyQueue,
    /// Deliver the webhook of a run. The URL, a secret, is not in the job but in the run's row.
    DeliverWebhook { tenant_id: TenantId, run_id: RunId },
    /// Fold the oldest runs of a session into its summary, with the summary manager of this agent.
    FoldSession { tenant_id: TenantId, session_id: SessionId, agent_id: String },
    /// Find a better name for a session.
    TitleSession { tenant_id: TenantId, session_id: SessionId, agent_id: String },
    /// Learn from the unread turns of a user.
    Learn { tenant_id: TenantId, user_id: UserId },
    /// Read the set-aside turns of a user again. The job is among the failed ones until somebody retries it.
    LearnAgain { tenant_id: TenantId, user_id: UserId },
    /// Create the missing vectors.
    EmbedNew,
}

/// The kinds that this build knows. A worker takes no others.
const KINDS: [&str; 8] =
    ["clean_up", "tidy_queue", "deliver_webhook", "fold_session", "title_session", "learn", "learn_again", "embed_new"];

/// The error of a job that cannot be done now, through no fault of its own. The job is put back and loses no attempt.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Later {
    pub after: Duration,
    pub reason: String,
}

impl Job {
    /// Jobs with the same key are deduplicated, until one begins.
    fn key(&self) -> String {
        match self {
            Self::CleanUp => "clean_up".into(),
            Self::TidyQueue => "tidy_queue".into(),
            Self::DeliverWebhook { tenant_id, run_id } => {
                format!("deliver_webhook:{}", digest(tenant_id, &run_id.to_string()))
            }
            Self::FoldSession { tenant_id, session_id, .. } => {
                format!("fold:{}", digest(tenant_id, session_id.as_str()))
            }
            Self::TitleSession { tenant_id, session_id, .. } => {
                format!("title:{}", digest(tenant_id, session_id.as_str()))
            }
            Self::Learn { tenant_id, user_id } => format!("learn:{}", digest(tenant_id, user_id.as_str())),
            Self::LearnAgain { tenant_id, user_id } => format!("learn_again:{}", digest(tenant_id, user_id.as_str())),
            Self::EmbedNew => "embed_new".into(),
        }
    }

    /// Jobs of the same line are executed one at a time.
    fn line(&self) -> Option<String> {
        match self {
            Self::CleanUp | Self::TidyQueue | Self::DeliverWebhook { .. } => None,
            Self::FoldSession { .. } | Self::TitleSession { .. } | Self::EmbedNew => Some(self.key()),
            Self::Learn { tenant_id, user_id } | Self::LearnAgain { tenant_id, user_id } => {
                Some(format!("learn:{}", digest(tenant_id, user_id.as_str())))
            }
        }
    }

    /// The pause after attempt n is e^n seconds.
    fn max_attempts(&self) -> i32 {
        match self {
            Self::CleanUp
            | Self::TidyQueue
            | Self::FoldSession { .. }
            | Self::TitleSession { .. }
            | Self::LearnAgain { .. } => 3,
            // Over about half an hour.
            Self::DeliverWebhook { .. } | Self::Learn { .. } | Self::EmbedNew => 8,
        }
    }
}

/// Whose share of the workers a job takes: that of a user of a tenant, or of all that in the tenant has no user.
fn share_of(tenant: &TenantId, user: Option<&str>) -> String {
    digest(tenant, user.unwrap_or_default())
}

/// A short form of an id, which is unique only within its tenant: keys and lines have a length limit.
fn digest(tenant: &TenantId, id: &str) -> String {
    let mut hash = Sha256::new();
    hash.update((tenant.as_str().len() as u64).to_be_bytes());
    hash.update(tenant.as_str());
    hash.update(id);
    BASE64_URL_SAFE_NO_PAD.encode(&hash.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_same_id_of_two_tenants_is_two_jobs() {
        let tenant = |name: &str| TenantId::stored(name.into());
        let (user_id, session_id) = (UserId::stored("bc".into()), SessionId::stored("bc".into()));
        let jobs = |tenant_id: &TenantId, user_id: &UserId| {
            [
                Job::Learn { tenant_id: tenant_id.clone(), user_id: user_id.clone() },
                Job::LearnAgain { tenant_id: tenant_id.clone(), user_id: user_id.clone() },
                Job::FoldSession {
                    tenant_id: tenant_id.clone(),
                    session_id: session_id.clone(),
                    agent_id: String::new(),
                },
                Job::DeliverWebhook { tenant_id: tenant_id.clone(), run_id: RunId::mint() },
            ]
        };
        let others = jobs(&tenant("other"), &user_id);
        for (job, other) in jobs(&tenant("a"), &user_id).iter().zip(&others) {
            assert_ne!(job.key(), other.key());
            assert!(job.line().is_none() || job.line() != other.line(), "{job:?}");
        }
        let moved = Job::Learn { tenant_id: tenant("ab"), user_id: UserId::stored("c".into()) };
        assert_ne!(jobs(&tenant("a"), &user_id)[0].key(), moved.key());
    }

    #[test]
    fn all_kinds_are_known() {
        let refused = serde_json::from_value::<Job>(json!({"kind": "?"})).unwrap_err().to_string();
        let kinds: Vec<&str> = refused.split('`').skip(3).step_by(2).collect();
        assert_eq!(kinds, KINDS, "{refused}");
    }
}
