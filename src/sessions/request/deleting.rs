//! Which sessions to delete: by their ids, or by what the list would show.

use serde::Deserialize;
use utoipa::ToSchema;

use super::{given_type::all_of_body, listing::FilterFields};
use crate::{
    auth::UserId,
    http::Problem,
    sessions::{SessionId, SessionType, filter::SessionFilter},
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
    /// One for each id; a session of another type is passed over.
    #[serde(default, deserialize_with = "all_of_body")]
    session_types: Option<Vec<SessionType>>,
    /// Every session that the list shows with these filters. It has to leave something out.
    #[serde(default)]
    filter: Option<FilterFields>,
    /// With `filter`: only say how many there are.
    #[serde(default)]
    dry_run: Option<bool>,
}

/// What to delete, once it has been checked.
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
