//! What is asked of copies.

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    auth::UserId,
    http::extract::{absent_if_empty, never_empty},
    runs::RunId,
    sessions::{SessionId, service::Fork},
};

/// The copy to make; every field may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkBody {
    /// Absent: made here.
    #[serde(default)]
    session_id: Option<SessionId>,
    /// The last run to copy; absent: all that have ended.
    #[serde(default)]
    up_to_run_id: Option<RunId>,
    /// Absent: as the source.
    #[serde(default)]
    #[schema(max_length = 500)]
    session_name: Option<String>,
}

impl From<ForkBody> for Fork {
    fn from(body: ForkBody) -> Self {
        let ForkBody { session_id, up_to_run_id, session_name } = body;
        Self { session_id, up_to_run_id, session_name }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AgentForkQuery {
    /// Another user's session is not found.
    #[serde(default, deserialize_with = "never_empty")]
    pub(in crate::sessions) user_id: Option<UserId>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// Refuse what is another user's.
    #[serde(default, deserialize_with = "never_empty")]
    pub(in crate::sessions) user_id: Option<UserId>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MessagesQuery {
    /// Another user's session is not found.
    #[serde(default, deserialize_with = "never_empty")]
    pub(in crate::sessions) user_id: Option<UserId>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    pub(in crate::sessions) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(in crate::sessions) cursor: Option<String>,
    /// `asc`, oldest first, if left out.
    #[serde(default, deserialize_with = "never_empty")]
    #[param(inline)]
    pub(in crate::sessions) sort_order: Option<crate::http::paging::SortOrder>,
}
