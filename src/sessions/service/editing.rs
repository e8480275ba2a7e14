//! Edits of a session by its user. They win over concurrent runs.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::{Conversation, MessagesPage, get, of_type};
use crate::{
    app::App,
    clock,
    config::Settings,
    database,
    model::{
        Error, NamedBy, Scope, SessionId, SessionType, session, state,
        version::{IfMatch, Tagged},
    },
    sessions::store::{self, Edited},
};

const MAX_NAME_CHARS: usize = 500;

/// An edit of a session; absent fields stay unchanged.
#[derive(Debug, Default)]
pub struct Edit {
    /// A name that only the user can replace. An empty one restores the title from the first message.
    pub session_name: Option<String>,
    pub session_state: Option<Write>,
    pub metadata: Option<Write>,
    pub archived: Option<bool>,
    pub pinned: Option<bool>,
    /// `Some(None)` removes the expiry.
    #[expect(clippy::option_option, reason = "to leave it, to remove it, and to set it are three things")]
    pub expires_at: Option<Option<DateTime<Utc>>>,
}

/// A change of a JSON object.
#[derive(Debug)]
pub enum Write {
    Replace(Map<String, Value>),
    /// JSON Merge Patch (RFC 7396).
    Merge(Map<String, Value>),
}

impl Write {
    fn over(self, mut current: Map<String, Value>) -> Map<String, Value> {
        match self {
            Self::Replace(object) => object,
            Self::Merge(patch) => {
                state::apply_patches(&mut current, &[patch]);
                current
            }
        }
    }
}

/// Applies an edit, if the session's version fits `If-Match`.
pub async fn edit(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    session_type: Option<SessionType>,
    if_match: &IfMatch,
    edit: Edit,
) -> Result<Tagged<Conversation>, Error> {
    let new_name = edit.session_name.map(|name| if name.trim().is_empty() { String::new() } else { name });
    if let Some(name) = &new_name {
        check_name("/session_name", name)?;
    }
    let at = clock::now();
    let mut tx = database::begin(&app.db).await?;
    let session = of_type(store::lock(&mut tx, scope, session_id).await?, session_id, session_type)?;
    if_match.check(&session.tag())?;
    let (session_name, named_by) = match new_name {
        None => (session.session_name, session.named_by),
        Some(name) if !name.is_empty() => (Some(name), Some(NamedBy::User)),
        Some(_) => {
            let title = store::first_input(&mut tx, scope, session_id).await?.and_then(|input| session::title(&input));
            let named_by = title.as_ref().map(|_| NamedBy::Message);
            (title, named_by)
        }
    };
    let session_state = over(edit.session_state, session.session_state, &app.settings, "/session_state")?;
    let metadata = over(edit.metadata, session.metadata, &app.settings, "/metadata")?;
    let archived_at = match edit.archived {
        Some(true) => session.archived_at.or(Some(at)),
        Some(false) => None,
        None => session.archived_at,
    };
    let edited = Edited {
        session_name: session_name.as_deref(),
        named_by,
        session_state: &session_state,
        metadata: &metadata,
        archived_at,
        pinned: edit.pinned.unwrap_or(session.pinned),
        expires_at: edit.expires_at.unwrap_or(session.expires_at),
        at,
    };
    store::write(&mut tx, scope, session_id, &edited).await?;
    tx.commit().await?;
    get(app, scope, session_id, session_type, MessagesPage::default()).await
}

fn over(
    write: Option<Write>,
    current: Map<String, Value>,
    settings: &Settings,
    pointer: &str,
) -> Result<Map<String, Value>, Error> {
    let Some(write) = write else { return Ok(current) };
    let written = write.over(current);
    state::check_size(settings.sessions.max_state_bytes, pointer, &written)?;
    Ok(written)
}

pub fn check_name(pointer: &str, name: &str) -> Result<(), Error> {
    match name.chars().count() {
        0..=MAX_NAME_CHARS => Ok(()),
        count => Err(Error::invalid(pointer, format!("has {count} characters; use at most {MAX_NAME_CHARS}"))),
    }
}
