//! What clients send to `/memories`.

use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Deserializer};
use utoipa::{IntoParams, ToSchema};

use super::{
    change,
    model::MemoryId,
    store::{Edit, Expiry, MemoryFilter, SortBy},
};
use crate::{
    auth::UserId,
    clock,
    http::{
        Problem,
        extract::{absent_if_empty, never_empty},
        paging::SortOrder,
    },
};

/// Whose memory, for endpoints on one.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MemoryQuery {
    /// Another user's memory is not found.
    #[serde(default, deserialize_with = "never_empty")]
    pub(super) user_id: Option<UserId>,
    /// The database of `/config`; there is one.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(super) db_id: Option<String>,
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(super) table: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    #[serde(default, deserialize_with = "never_empty")]
    pub(super) user_id: Option<UserId>,
    /// Memories that this agent has learned.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(super) agent_id: Option<String>,
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(super) team_id: Option<String>,
    /// All of these topics, in any case: several times, or with commas.
    #[serde(default)]
    pub(super) topics: Vec<String>,
    /// A part of the text, in any case.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(super) search_content: Option<String>,
    #[param(value_type = Option<i64>, minimum = 1, maximum = 4_294_967_295_i64, default = 1)]
    pub(super) page: Option<u32>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    pub(super) limit: Option<u32>,
    /// `updated_at` if left out.
    #[param(inline)]
    pub(super) sort_by: Option<SortBy>,
    /// `desc` if left out.
    #[param(inline)]
    pub(super) sort_order: Option<SortOrder>,
    /// The database of `/config`; there is one.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(super) db_id: Option<String>,
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(super) table: Option<String>,
}

impl ListQuery {
    pub(super) fn filter(&self) -> MemoryFilter {
        let topics = self.topics.iter().flat_map(|topics| topics.split(','));
        MemoryFilter {
            agent_id: self.agent_id.clone(),
            team_id: self.team_id.clone(),
            topics: topics.map(str::trim).filter(|topic| !topic.is_empty()).map(Into::into).collect(),
            content: self.search_content.clone(),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StatsQuery {
    #[serde(default, deserialize_with = "never_empty")]
    pub(super) user_id: Option<UserId>,
    #[param(value_type = Option<i64>, minimum = 1, maximum = 4_294_967_295_i64, default = 1)]
    pub(super) page: Option<u32>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    pub(super) limit: Option<u32>,
    /// The database of `/config`; there is one.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(super) db_id: Option<String>,
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(super) table: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"memory": "Alice likes jazz.", "user_id": "alice@example.com", "topics": ["music"]}))]
pub struct CreateMemoryBody {
    #[schema(min_length = 1, max_length = 5000)]
    pub(super) memory: String,
    /// Whom it is about; without a user there are no memories.
    #[serde(default)]
    pub(super) user_id: Option<UserId>,
    #[serde(default)]
    #[schema(max_items = 20)]
    pub(super) topics: Option<Vec<String>>,
    /// When it stops being found, a time to come; absent: never.
    #[serde(default)]
    pub(super) expires_at: Option<DateTime<Utc>>,
}

impl CreateMemoryBody {
    pub(super) fn check(&self) -> Result<(), Problem> {
        check_fields(Some(&self.memory), self.topics.as_deref())?;
        if self.expires_at.is_some_and(|at| at <= clock::now()) {
            let detail = "has passed already; give a time to come, or leave it out for a memory that is kept";
            return Err(Problem::invalid("/expires_at", detail));
        }
        self.expires_at.map_or(Ok(()), check_expiry)
    }
}

fn check_expiry(at: DateTime<Utc>) -> Result<(), Problem> {
    if !(1970..=9999).contains(&at.year()) {
        return Err(Problem::invalid("/expires_at", "is not of a year from 1970 to 9999; leave it out, or give null"));
    }
    Ok(())
}

/// What to replace; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"memory": "Alice likes blues.", "topics": ["music"]}))]
pub struct UpdateMemoryBody {
    #[serde(default)]
    #[schema(min_length = 1, max_length = 5000)]
    pub(super) memory: Option<String>,
    /// Another user's memory is not found.
    #[serde(default)]
    pub(super) user_id: Option<UserId>,
    #[serde(default)]
    #[schema(max_items = 20)]
    pub(super) topics: Option<Vec<String>>,
    /// `null`: it never expires.
    #[serde(default, deserialize_with = "expiry")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub(super) expires_at: Option<Expiry>,
}

/// Tells `null` from what was left out.
fn expiry<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Expiry>, D::Error> {
    let time = Option::deserialize(deserializer)?;
    Ok(Some(time.map_or(Expiry::Never, Expiry::At)))
}

impl UpdateMemoryBody {
    pub(super) fn into_edit(self) -> Result<Edit, Problem> {
        check_fields(self.memory.as_deref(), self.topics.as_deref())?;
        if self.memory.is_none() && self.topics.is_none() && self.expires_at.is_none() {
            let detail = "is missing, and so are topics and expires_at; give what is to change";
            return Err(Problem::invalid("/memory", detail));
        }
        if let Some(Expiry::At(at)) = self.expires_at {
            check_expiry(at)?;
        }
        Ok(Edit { memory: self.memory, topics: self.topics, expires_at: self.expires_at })
    }
}

fn check_fields(memory: Option<&str>, topics: Option<&[String]>) -> Result<(), Problem> {
    if let Some(memory) = memory {
        change::check_text(memory).map_err(|reason| Problem::invalid("/memory", reason))?;
    }
    change::check_topics(topics.unwrap_or_default()).map_err(|reason| Problem::invalid("/topics", reason))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteMemoriesBody {
    /// An id that is none names nothing.
    #[schema(min_items = 1, max_items = 1000)]
    memory_ids: Vec<String>,
    /// Another user's memories are passed over.
    #[serde(default)]
    pub(super) user_id: Option<UserId>,
}

const MAX_IDS: usize = 1_000;

impl DeleteMemoriesBody {
    pub(super) fn ids(&self) -> Result<Vec<MemoryId>, Problem> {
        if !(1..=MAX_IDS).contains(&self.memory_ids.len()) {
            let detail = format!("has {} ids; give 1 to {MAX_IDS}", self.memory_ids.len());
            return Err(Problem::invalid("/memory_ids", detail));
        }
        Ok(self.memory_ids.iter().filter_map(|id| id.parse().ok().map(MemoryId)).collect())
    }
}

/// A text to try the extraction on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"text": "I love pizza, especially margherita", "user_id": "alice@example.com"}))]
pub struct ExtractBody {
    /// What a user says.
    #[schema(min_length = 1)]
    pub(super) text: String,
    /// With a user, their memories are taken into account.
    #[serde(default)]
    pub(super) user_id: Option<UserId>,
    /// Whose model and instructions; the first agent's if left out.
    #[serde(default)]
    pub(super) agent_id: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"user_id": "alice@example.com", "apply": false}))]
pub struct OptimizeBody {
    pub(super) user_id: UserId,
    /// A name of `/models`, or `provider:id`; the first agent's model if left out.
    #[serde(default)]
    pub(super) model: Option<String>,
    /// `false`: only say what would become of them.
    #[serde(default)]
    pub(super) apply: Option<bool>,
}
