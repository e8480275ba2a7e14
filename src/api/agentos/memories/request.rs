//! Request bodies and queries of `/memories`.

use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Deserializer};
use utoipa::{IntoParams, ToSchema};

use crate::{
    api::{Problem, extract::absent_if_empty},
    clock,
    memories::{
        change,
        store::{Edit, Expiry, MemoryFilter, SortBy},
    },
    model::{MemoryId, UserId, paging::SortOrder},
};

/// Common query parameters of the memory endpoints.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MemoryQuery {
    /// The database id from `/config`; there is only one.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(crate) db_id: Option<String>,
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(crate) table: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Only memories that this agent has learned.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(crate) agent_id: Option<String>,
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(crate) team_id: Option<String>,
    /// Only memories with all of these topics, case-insensitive. Repeat the parameter, or separate topics by commas.
    #[serde(default)]
    pub(crate) topics: Vec<String>,
    /// A substring of the text, case-insensitive.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(crate) search_content: Option<String>,
    #[param(value_type = Option<i64>, minimum = 1, maximum = 4_294_967_295_i64, default = 1)]
    pub(crate) page: Option<u32>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    pub(crate) limit: Option<u32>,
    /// Default: `updated_at`.
    #[param(inline)]
    pub(crate) sort_by: Option<SortBy>,
    /// Default: `desc`.
    #[param(inline)]
    pub(crate) sort_order: Option<SortOrder>,
    /// The database id from `/config`; there is only one.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(crate) db_id: Option<String>,
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(crate) table: Option<String>,
}

impl ListQuery {
    pub(crate) fn filter(&self) -> MemoryFilter {
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
    #[param(value_type = Option<i64>, minimum = 1, maximum = 4_294_967_295_i64, default = 1)]
    pub(crate) page: Option<u32>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    pub(crate) limit: Option<u32>,
    /// The database id from `/config`; there is only one.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(crate) db_id: Option<String>,
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(crate) table: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"memory": "Alice likes jazz.", "user_id": "alice@example.com", "topics": ["music"]}))]
pub struct CreateMemoryBody {
    #[schema(min_length = 1, max_length = 5000)]
    pub(crate) memory: String,
    /// The user whom the memory is about. Required here or in the query: every memory belongs to a user.
    #[serde(default)]
    pub(crate) user_id: Option<UserId>,
    #[serde(default)]
    #[schema(max_items = 20)]
    pub(crate) topics: Option<Vec<String>>,
    /// When the memory expires and is no longer found; must be in the future. Default: never.
    #[serde(default)]
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

impl CreateMemoryBody {
    pub(crate) fn check(&self) -> Result<(), Problem> {
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

/// The fields to replace; absent fields stay unchanged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"memory": "Alice likes blues.", "topics": ["music"]}))]
pub struct UpdateMemoryBody {
    #[serde(default)]
    #[schema(min_length = 1, max_length = 5000)]
    pub(crate) memory: Option<String>,
    /// The memory's owner; a memory of another user is not found.
    #[serde(default)]
    pub(crate) user_id: Option<UserId>,
    #[serde(default)]
    #[schema(max_items = 20)]
    pub(crate) topics: Option<Vec<String>>,
    /// `null` removes the expiry.
    #[serde(default, deserialize_with = "expiry")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub(crate) expires_at: Option<Expiry>,
}

/// Distinguishes `null` from an absent field.
fn expiry<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Expiry>, D::Error> {
    let time = Option::deserialize(deserializer)?;
    Ok(Some(time.map_or(Expiry::Never, Expiry::At)))
}

impl UpdateMemoryBody {
    pub(crate) fn into_edit(self) -> Result<Edit, Problem> {
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
    /// Strings that are not ids are ignored.
    #[schema(min_items = 1, max_items = 1000)]
    memory_ids: Vec<String>,
    /// The owner of the memories; those of other users are ignored.
    #[serde(default)]
    pub(crate) user_id: Option<UserId>,
}

const MAX_IDS: usize = 1_000;

impl DeleteMemoriesBody {
    pub(crate) fn ids(&self) -> Result<Vec<MemoryId>, Problem> {
        if !(1..=MAX_IDS).contains(&self.memory_ids.len()) {
            let detail = format!("has {} ids; give 1 to {MAX_IDS}", self.memory_ids.len());
            return Err(Problem::invalid("/memory_ids", detail));
        }
        Ok(self.memory_ids.iter().filter_map(|id| id.parse().ok().map(MemoryId)).collect())
    }
}

/// A text for an extraction preview.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"text": "I love pizza, especially margherita", "user_id": "alice@example.com"}))]
pub struct ExtractBody {
    /// The user's words.
    #[schema(min_length = 1)]
    pub(crate) text: String,
    /// If given, this user's memories are taken into account.
    #[serde(default)]
    pub(crate) user_id: Option<UserId>,
    /// The agent whose model and instructions are used. Default: the first agent.
    #[serde(default)]
    pub(crate) agent_id: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"user_id": "alice@example.com", "apply": false}))]
pub struct OptimizeBody {
    pub(crate) user_id: UserId,
    /// A model by its name in the settings or by `provider:id`. Default: the first agent's model for memories.
    #[serde(default)]
    pub(crate) model: Option<String>,
    /// `false` returns a preview and changes nothing. Default: `true`.
    #[serde(default)]
    pub(crate) apply: Option<bool>,
}
