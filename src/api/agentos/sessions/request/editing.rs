//! Changes of a session, as a JSON body that replaces fields or as a merge patch.

use axum::extract::{FromRequest, Request};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::moment::Moment;
use crate::{
    api::{Body, Problem, extract::media_type},
    sessions::service::{Edit, Write},
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameBody {
    /// If empty, the session is named after its first message again.
    #[schema(max_length = 500, example = "Product discussion")]
    pub(crate) session_name: String,
}

/// The fields to replace; fields that are absent or null stay unchanged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"session_name": "Product discussion"}))]
pub struct UpdateSessionBody {
    /// If empty, the session is named after its first message again.
    #[serde(default)]
    #[schema(max_length = 500)]
    session_name: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    session_state: Option<Map<String, Value>>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// Archived sessions are left out of lists unless the filter asks for them.
    #[serde(default)]
    archived: Option<bool>,
    /// Neither retention nor expiry removes a pinned session.
    #[serde(default)]
    pinned: Option<bool>,
    /// When the session expires and may be deleted: RFC 3339, or Unix seconds.
    #[serde(default)]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    expires_at: Option<Moment>,
}

/// A merge patch (RFC 7396): objects are merged, and null removes. A null state or metadata becomes empty; a null name
/// is replaced by the one derived from the first message.
#[expect(clippy::option_option, reason = "left out, null and a value are three things")]
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"session_state": {"step": 2, "draft": null}}))]
pub struct MergePatchBody {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 500)]
    session_name: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Object>)]
    session_state: Option<Option<Map<String, Value>>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Option<Map<String, Value>>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<bool>)]
    archived: Option<Option<bool>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<bool>)]
    pinned: Option<Option<bool>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    expires_at: Option<Option<Moment>>,
}

/// Distinguishes null from an absent field.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A change in either format, chosen by the media type.
#[derive(Debug)]
pub struct UpdateRequest(pub(crate) Edit);

impl<S: Send + Sync> FromRequest<S> for UpdateRequest {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_merge_patch = media_type(request.headers()).is_some_and(|media| media == "application/merge-patch+json");
        if is_merge_patch {
            let Body(patch) = <Body<MergePatchBody> as FromRequest<S>>::from_request(request, state).await?;
            return Ok(Self(patch.into()));
        }
        let Body(body) = <Body<UpdateSessionBody> as FromRequest<S>>::from_request(request, state).await?;
        Ok(Self(body.into()))
    }
}

impl From<UpdateSessionBody> for Edit {
    fn from(body: UpdateSessionBody) -> Self {
        Self {
            session_name: body.session_name,
            session_state: body.session_state.map(Write::Replace),
            metadata: body.metadata.map(Write::Replace),
            archived: body.archived,
            pinned: body.pinned,
            expires_at: body.expires_at.map(|at| Some(at.begin())),
        }
    }
}

impl From<MergePatchBody> for Edit {
    fn from(patch: MergePatchBody) -> Self {
        let merge = |object: Option<Map<String, Value>>| object.map_or(Write::Replace(Map::new()), Write::Merge);
        Self {
            session_name: patch.session_name.map(Option::unwrap_or_default),
            session_state: patch.session_state.map(merge),
            metadata: patch.metadata.map(merge),
            archived: patch.archived.map(Option::unwrap_or_default),
            pinned: patch.pinned.map(Option::unwrap_or_default),
            expires_at: patch.expires_at.map(|at| at.map(Moment::begin)),
        }
    }
}
