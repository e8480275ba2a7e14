//! What clients send to `/sessions`.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::{
    model::{SessionId, SessionType},
    store::{Edit, SortBy},
};
use crate::{
    auth::UserId,
    http::{
        Problem,
        extract::{absent_if_empty, never_empty},
        paging::SortOrder,
    },
    runs::{
        RunStatus,
        store::{MAX_RUNS, RunFilter},
    },
};

/// Which session, for endpoints on one.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SessionQuery {
    /// A session of another type is not found.
    #[serde(rename = "type", default, deserialize_with = "absent_if_empty")]
    #[param(rename = "type")]
    pub(super) session_type: Option<SessionType>,
    /// Another user's session is not found.
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
    #[serde(rename = "type", default, deserialize_with = "absent_if_empty")]
    #[param(rename = "type")]
    pub(super) session_type: Option<SessionType>,
    /// Sessions with this agent, team or workflow.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(super) component_id: Option<String>,
    #[serde(default, deserialize_with = "never_empty")]
    pub(super) user_id: Option<UserId>,
    /// A part of the name, in any case.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(super) session_name: Option<String>,
    #[param(minimum = 1, default = 1)]
    pub(super) page: Option<u32>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    pub(super) limit: Option<u32>,
    /// `created_at` if left out.
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

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CreateQuery {
    #[serde(rename = "type", default, deserialize_with = "absent_if_empty")]
    #[param(rename = "type", default = "agent")]
    pub(super) session_type: Option<SessionType>,
    /// The database of `/config`; there is one.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(super) db_id: Option<String>,
}

/// A session to create; every field may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"session_name": "Holidays", "user_id": "alice@example.com", "agent_id": "assistant"}))]
pub struct CreateSessionBody {
    /// Absent: made here.
    #[serde(default)]
    pub(super) session_id: Option<SessionId>,
    #[serde(default)]
    pub(super) session_name: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub(super) session_state: Option<Map<String, Value>>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub(super) metadata: Option<Map<String, Value>>,
    #[serde(default)]
    pub(super) user_id: Option<UserId>,
    /// For `type=agent`.
    #[serde(default)]
    pub(super) agent_id: Option<String>,
    /// For `type=team`.
    #[serde(default)]
    pub(super) team_id: Option<String>,
    /// For `type=workflow`.
    #[serde(default)]
    pub(super) workflow_id: Option<String>,
}

impl CreateSessionBody {
    /// The id that fits the type; one of another type is refused.
    pub(super) fn component_id(&self, session_type: SessionType) -> Result<Option<String>, Problem> {
        let ids = [
            (SessionType::Agent, "/agent_id", &self.agent_id),
            (SessionType::Team, "/team_id", &self.team_id),
            (SessionType::Workflow, "/workflow_id", &self.workflow_id),
        ];
        let mut component_id = None;
        for (of_type, pointer, id) in ids {
            let Some(id) = id else { continue };
            if of_type != session_type {
                let detail = format!("does not fit a session of type {session_type}; leave it out or change ?type=");
                return Err(Problem::invalid(pointer, detail));
            }
            crate::text::check_id(id).map_err(|error| Problem::invalid(pointer, error))?;
            component_id = Some(id.clone());
        }
        Ok(component_id)
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GetQuery {
    /// A session of another type is not found.
    #[serde(rename = "type", default, deserialize_with = "absent_if_empty")]
    #[param(rename = "type")]
    pub(super) session_type: Option<SessionType>,
    /// Another user's session is not found.
    #[serde(default, deserialize_with = "never_empty")]
    pub(super) user_id: Option<UserId>,
    /// How many of the newest messages to answer with.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub(super) messages_limit: Option<u32>,
    /// Answer with what was said before this `messages_cursor`.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(super) messages_before: Option<String>,
    /// The database of `/config`; there is one.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(super) db_id: Option<String>,
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(super) table: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameBody {
    #[schema(min_length = 1, max_length = 500, example = "Product discussion")]
    pub(super) session_name: String,
}

/// What to replace; what is left out, or null, stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"session_name": "Product discussion"}))]
pub struct UpdateSessionBody {
    #[serde(default)]
    #[schema(min_length = 1, max_length = 500)]
    session_name: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    session_state: Option<Map<String, Value>>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
}

impl From<UpdateSessionBody> for Edit {
    fn from(body: UpdateSessionBody) -> Self {
        let UpdateSessionBody { session_name, session_state, metadata } = body;
        Self { session_name, session_state, metadata }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteSessionsBody {
    #[schema(min_items = 1, max_items = 1000)]
    pub(super) session_ids: Vec<SessionId>,
    /// One for each id; a session of another type is passed over.
    #[serde(default)]
    pub(super) session_types: Option<Vec<SessionType>>,
}

const MAX_IDS: usize = 1_000;

impl DeleteSessionsBody {
    pub(super) fn check(&self) -> Result<(), Problem> {
        if !(1..=MAX_IDS).contains(&self.session_ids.len()) {
            let detail = format!("has {} ids; give 1 to {MAX_IDS}", self.session_ids.len());
            return Err(Problem::invalid("/session_ids", detail));
        }
        if self.session_types.as_ref().is_some_and(|types| types.len() != self.session_ids.len()) {
            return Err(Problem::unreadable("Session IDs and session types must have the same length"));
        }
        Ok(())
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RunsQuery {
    /// A session of another type is not found.
    #[serde(rename = "type", default, deserialize_with = "absent_if_empty")]
    #[param(rename = "type")]
    pub(super) session_type: Option<SessionType>,
    /// Another user's session is not found.
    #[serde(default, deserialize_with = "never_empty")]
    pub(super) user_id: Option<UserId>,
    /// Unix seconds, inclusive.
    pub(super) created_after: Option<i64>,
    /// Unix seconds, inclusive.
    pub(super) created_before: Option<i64>,
    /// In any case; may be given several times.
    #[serde(default)]
    pub(super) status: Vec<String>,
    /// The newest that many runs.
    #[param(minimum = 1, maximum = 1000, default = 1000)]
    pub(super) limit: Option<u32>,
    /// The database of `/config`; there is one.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(super) db_id: Option<String>,
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(super) table: Option<String>,
}

impl RunsQuery {
    pub(super) fn filter(&self) -> Result<RunFilter, Problem> {
        let limit = self.limit.unwrap_or(MAX_RUNS);
        if !(1..=MAX_RUNS).contains(&limit) {
            return Err(Problem::invalid("limit", format!("is {limit}; use 1 to {MAX_RUNS}")));
        }
        Ok(RunFilter {
            component_id: None,
            statuses: parse_statuses(&self.status)?,
            created_after: self.created_after.map(|at| unix_time("created_after", at, 0)).transpose()?,
            // Inclusive to the second: up to its last microsecond.
            created_before: self.created_before.map(|at| unix_time("created_before", at, 999_999_000)).transpose()?,
            limit: i64::from(limit),
        })
    }
}

fn unix_time(name: &str, seconds: i64, nanos: u32) -> Result<DateTime<Utc>, Problem> {
    DateTime::from_timestamp(seconds, nanos)
        .filter(|time| (0..=253_402_300_799).contains(&time.timestamp()))
        .ok_or_else(|| Problem::invalid(name, format!("is {seconds}; give Unix seconds of a year up to 9999")))
}

pub fn parse_statuses(given: &[String]) -> Result<Option<Vec<RunStatus>>, Problem> {
    let statuses = given.iter().filter(|status| !status.is_empty()).map(|status| {
        RunStatus::deserialize(Value::String(status.to_ascii_uppercase())).map_err(|_| {
            Problem::unreadable(format!(
                "status \"{status}\" is none; use PENDING, RUNNING, PAUSED, COMPLETED, CANCELLED, ERROR or REGENERATED"
            ))
        })
    });
    let statuses: Vec<_> = statuses.collect::<Result<_, _>>()?;
    Ok((!statuses.is_empty()).then_some(statuses))
}
