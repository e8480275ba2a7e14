//! Bulk deletion of sessions, by ids or by the filters of the list.

use serde::Deserialize;
use utoipa::ToSchema;

use super::{given_type::all_of_body, listing::FilterFields};
use crate::{
    api::Problem,
    model::{SessionId, SessionType, UserId},
    sessions::filter::SessionFilter,
};

const MAX_IDS: usize = 1_000;

/// Give `session_ids`, or a `filter`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"session_ids": ["s-1", "s-2"]}))]
pub struct DeleteSessionsBody {
    #[serde(default)]
    #[schema(min_items = 1, max_items = 1000)]
    session_ids: Option<Vec<SessionId>>,
    /// One type per id; a session of another type is ignored.
    #[serde(default, deserialize_with = "all_of_body")]
    session_types: Option<Vec<SessionType>>,
    /// Deletes all sessions that the list returns for these filters. At least one condition is required.
    #[serde(default)]
    filter: Option<FilterFields>,
    /// With `filter`: only counts the sessions and deletes none. Default: `false`.
    #[serde(default)]
    dry_run: Option<bool>,
}

/// A validated deletion request.
#[derive(Debug)]
pub enum Deletion {
    Named { session_ids: Vec<SessionId>, types: Option<Vec<SessionType>> },
    Matching { filter: SessionFilter, user_id: Option<UserId>, dry_run: bool },
}

impl TryFrom<DeleteSessionsBody> for Deletion {
    type Error = Problem;

    fn try_from(body: DeleteSessionsBody) -> Result<Self, Problem> {
        match (body.session_ids, body.filter) {
            (Some(_), Some(_)) => Err(Problem::invalid("/filter", "is given beside session_ids; give one of them")),
            (None, None) => Err(Problem::invalid("/session_ids", "is missing; give it, or a filter")),
            (Some(session_ids), None) => {
                if body.dry_run.is_some() {
                    return Err(Problem::invalid("/dry_run", "goes with a filter; leave it out beside session_ids"));
                }
                named(session_ids, body.session_types)
            }
            (None, Some(fields)) => {
                if body.session_types.is_some() {
                    return Err(Problem::invalid("/session_types", "goes with session_ids; use filter.type"));
                }
                let user_id = fields.user_id.clone();
                let filter = fields.into_filter("/filter")?;
                if filter.is_empty() && user_id.is_none() {
                    let detail = "leaves nothing out, and would delete every session; give it at least one condition";
                    return Err(Problem::invalid("/filter", detail));
                }
                Ok(Self::Matching { filter, user_id, dry_run: body.dry_run.unwrap_or_default() })
            }
        }
    }
}

fn named(session_ids: Vec<SessionId>, types: Option<Vec<SessionType>>) -> Result<Deletion, Problem> {
    if !(1..=MAX_IDS).contains(&session_ids.len()) {
        let detail = format!("has {} ids; give 1 to {MAX_IDS}", session_ids.len());
        return Err(Problem::invalid("/session_ids", detail));
    }
    if types.as_ref().is_some_and(|types| types.len() != session_ids.len()) {
        return Err(Problem::unreadable("Session IDs and session types must have the same length"));
    }
    Ok(Deletion::Named { session_ids, types })
}
