//! What clients send to `/sessions`.
//!
//! `listing` has the filters, which lists and deletions share, `editing`, `deleting` and `copying` what
//! their names say, `moment` and `given_type` how a time and a type
//! are given.

mod copying;
mod deleting;
mod editing;
mod given_type;
mod listing;
mod moment;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use self::given_type::of_query;
use super::model::{SessionId, SessionType};
use crate::{
    auth::UserId,
    http::{
        Problem,
        extract::{absent_if_empty, never_empty},
    },
    runs::{
        RunStatus,
        store::{MAX_RUNS, RunFilter},
    },
};

pub use self::{
    copying::{AgentForkQuery, ForkBody, ImportQuery, MessagesQuery},
    deleting::{DeleteSessionsBody, Deletion},
    editing::{MergePatchBody, RenameBody, UpdateRequest, UpdateSessionBody},
    listing::{ListQuery, Listing},
};

/// Which session, for endpoints on one.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SessionQuery {
    /// A session of another type is not found. In any case; also `session_type`.
    #[serde(rename = "type", alias = "session_type", default, deserialize_with = "of_query")]
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

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CreateQuery {
    #[serde(rename = "type", alias = "session_type", default, deserialize_with = "of_query")]
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
    /// A session of another type is not found. In any case; also `session_type`.
    #[serde(rename = "type", alias = "session_type", default, deserialize_with = "of_query")]
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

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RunsQuery {
    /// A session of another type is not found. In any case; also `session_type`.
    #[serde(rename = "type", alias = "session_type", default, deserialize_with = "of_query")]
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
