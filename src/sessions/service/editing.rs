//! What a user changes of a session. It stands whatever runs do meanwhile.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::{MessagesPage, get, of_type};
use crate::{
    app::App,
    auth::Scope,
    clock,
    config::Settings,
    database,
    http::{
        Problem,
        conditional::{IfMatch, Tagged},
    },
    sessions::{
        SessionId, SessionType,
        model::{self, NamedBy},
        store::{self, Edited},
        wire::SessionDetail,
    },
    tools,
};

const MAX_NAME_CHARS: usize = 500;

/// Changes of a session by its user; what is absent stays.
#[derive(Debug, Default)]
pub struct Edit {
    /// A name that only the user may replace; an empty one gives way to the one after the first message.
    pub session_name: Option<String>,
    pub session_state: Option<Write>,
    pub metadata: Option<Write>,
    pub archived: Option<bool>,
    pub pinned: Option<bool>,
    /// `Some(None)`: it does not expire any more.
    pub expires_at: Option<Option<DateTime<Utc>>>,
}

/// A change of a JSON object.
#[derive(Debug)]
pub enum Write {
    Replace(Map<String, Value>),
    /// RFC 7396.
    Merge(Map<String, Value>),
}

impl Write {
    fn over(self, mut current: Map<String, Value>) -> Map<String, Value> {
        match self {
            Self::Replace(object) => object,
            Self::Merge(patch) => {
                tools::apply_patches(&mut current, &[patch]);
                current
            }
        }
    }
}

/// Makes a user's changes, if the session is at a version that the caller has seen.
pub async fn edit(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    session_type: Option<SessionType>,
    if_match: &IfMatch,
    edit: Edit,
) -> Result<Tagged<SessionDetail>, Problem> {
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
            let title = store::first_input(&mut tx, scope, session_id).await?.and_then(|input| model::title(&input));
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
) -> Result<Map<String, Value>, Problem> {
    let Some(write) = write else { return Ok(current) };
    let written = write.over(current);
    check_state(settings, pointer, &written)?;
    Ok(written)
}

/// Refuses a state, or metadata, that is larger than `sessions.max_state_bytes` as JSON.
pub fn check_state(settings: &Settings, pointer: &str, state: &Map<String, Value>) -> Result<(), Problem> {
    let max = settings.sessions.max_state_bytes;
    match model::json_bytes(state) {
        bytes if bytes > max => {
            let detail = format!("would have {bytes} bytes as JSON; keep it to {max} (sessions.max_state_bytes)");
            Err(Problem::invalid(pointer, detail))
        }
        _ => Ok(()),
    }
}

pub fn check_name(pointer: &str, name: &str) -> Result<(), Problem> {
    match name.chars().count() {
        0..=MAX_NAME_CHARS => Ok(()),
        count => Err(Problem::invalid(pointer, format!("has {count} characters; use at most {MAX_NAME_CHARS}"))),
    }
}
