//! The rules of sessions: creating, listing and reading are here, changes in `editing`, deletes in `deleting`.

mod deleting;
mod editing;
mod exporting;
mod forking;
mod importing;
mod parts;

use std::time::Instant;

use serde_json::{Map, Value};

use super::{
    excerpt,
    filter::{SessionFilter, Sort},
    store::{self, ListedSession, NewSession, Part, Selection, Words},
};
use crate::{
    app::App,
    clock, database,
    idempotency::Claimed,
    model::{
        Caller, Error, ErrorKind, Message, OnConstraint, RunId, Scope, Session, SessionId, SessionType,
        paging::{Cursor, MAX_TOTAL, Page, PageMeta, PageRequest, SortOrder},
        state,
        version::Tagged,
    },
    runs,
};

pub use self::{
    deleting::{delete, delete_matching},
    editing::{Edit, Write, check_name, edit},
    exporting::export,
    forking::{Fork, fork},
    importing::{Imported, import},
    parts::{delete_message, delete_run, forget_runs},
};

/// A session in a list.
#[derive(Debug)]
pub struct FoundSession {
    pub session: Session,
    /// Where the session matches the search, as HTML in which `<mark>` is the only markup.
    pub excerpt: Option<String>,
}

/// A session with a page of its messages, by default the newest.
#[derive(Debug)]
pub struct Conversation {
    pub session: Session,
    /// Oldest first.
    pub messages: Vec<Message>,
    /// Leads to older messages; `None` if there are none.
    pub cursor: Option<String>,
}

/// A message and the run that it belongs to.
#[derive(Debug)]
pub struct MessageOfRun {
    pub run_id: RunId,
    pub seq: i64,
    pub message: Message,
}

/// A session to create.
#[derive(Debug)]
pub struct CreateSession {
    pub session_id: Option<SessionId>,
    pub session_type: SessionType,
    pub component_id: Option<String>,
    pub session_name: Option<String>,
    pub session_state: Map<String, Value>,
    pub metadata: Map<String, Value>,
}

pub async fn create(
    app: &App,
    caller: &Caller,
    create: CreateSession,
    claimed: &Claimed,
) -> Result<Tagged<Conversation>, Error> {
    let session_name = create.session_name.filter(|name| !name.trim().is_empty());
    if let Some(name) = &session_name {
        check_name("/session_name", name)?;
    }
    let max = app.settings.sessions.max_state_bytes;
    state::check_size(max, "/session_state", &create.session_state)?;
    state::check_size(max, "/metadata", &create.metadata)?;
    let new = NewSession {
        session_id: create.session_id.unwrap_or_else(SessionId::mint),
        session_type: create.session_type,
        component_id: create.component_id,
        user_id: caller.user().cloned(),
        session_name,
        session_state: create.session_state,
        metadata: create.metadata,
        at: clock::now(),
    };
    let (scope, id) = (caller.scope(), &new.session_id);
    let mut tx = database::begin(&app.db).await?;
    let inserted = store::insert(&mut tx, caller.tenant(), &new).await;
    let taken = "This session id is in use; choose another, or leave it out";
    match inserted.on_constraint("sessions_pkey", || Error::conflict(taken)) {
        Ok(()) => {
            claimed.spend(&mut tx, id).await?;
            tx.commit().await?;
            get(app, &scope, id, None, MessagesPage::default()).await
        }
        // Only its owner gets details: nobody else may learn whose session it is.
        Err(problem) if problem.kind() == ErrorKind::Conflict && store::find(&app.db, &scope, id).await?.is_some() => {
            let detail = format!("Session with id '{id}' already exists. Use PATCH /sessions/{id} to update it.");
            Err(Error::conflict(detail))
        }
        Err(problem) => Err(problem),
    }
}

/// What to list, and how much of it.
#[derive(Debug)]
pub struct ListSessions {
    pub filter: SessionFilter,
    pub sort: Sort,
    pub page: PageRequest,
    /// Replaces the page number.
    pub cursor: Option<String>,
    pub include_total: bool,
}

pub async fn list(app: &App, scope: &Scope, list: ListSessions) -> Result<Page<FoundSession>, Error> {
    let started = Instant::now();
    let ListSessions { filter, sort, page, cursor, include_total } = list;
    let cursors = Cursor::of(&(scope.tenant(), scope.user(), &filter, sort));
    let part = match &cursor {
        Some(cursor) => Part::After(cursors.read("cursor", cursor)?),
        None => Part::From { offset: page.offset() },
    };
    let words = Words::of(&app.db, scope, &filter, &app.settings.search.text_config).await?;
    let selection = Selection::new(&app.db, scope, &filter, words.as_ref(), Some(sort.by)).await?;
    // One row more than requested tells whether there is a next page.
    let mut found = store::list(&app.db, selection, sort, (&part, page.limit() + 1)).await?;
    let shown = usize::try_from(page.limit()).unwrap_or(usize::MAX).min(found.len());
    let has_more = found.len() > shown;
    found.truncate(shown);
    let next = found.last().filter(|_| has_more).map(|last| cursors.write(&sort.place_of(&last.session)));
    let meta = match part {
        Part::After(_) => PageMeta::after_cursor(page.limit, next, started.elapsed()),
        Part::From { .. } if !include_total => page.meta_without_total(next, started.elapsed()),
        Part::From { offset } => {
            let rows = i64::try_from(shown).unwrap_or(i64::MAX);
            // On the last page, offset and rows give the total.
            let total = if !has_more && (rows > 0 || offset == 0) {
                offset + rows
            } else {
                store::count(&app.db, selection, Some(MAX_TOTAL + 1)).await?
            };
            PageMeta { has_more, next_cursor: next, ..page.meta(total, started.elapsed()) }
        }
    };
    let wanted: Vec<&str> = filter.alternatives().into_iter().flat_map(|alternative| alternative.wanted).collect();
    let item = |ListedSession { session, excerpt }: ListedSession| {
        let of_name = || excerpt::of_name(session.session_name.as_deref()?, &wanted);
        let excerpt = excerpt.as_deref().map(excerpt::of_message).or_else(of_name);
        FoundSession { session, excerpt }
    };
    Ok(Page { data: found.into_iter().map(item).collect(), meta })
}

/// Which page of a conversation to read.
#[derive(Clone, Debug)]
pub struct MessagesPage {
    pub limit: i64,
    /// A cursor: read the messages before it.
    pub before: Option<String>,
}

impl MessagesPage {
    pub const DEFAULT_LIMIT: i64 = 100;
    pub const MAX_LIMIT: i64 = 1_000;

    pub fn new(limit: Option<u32>, before: Option<String>) -> Result<Self, Error> {
        let limit = limit.map_or(Self::DEFAULT_LIMIT, i64::from);
        if !(1..=Self::MAX_LIMIT).contains(&limit) {
            return Err(Error::invalid("messages_limit", format!("is {limit}; use 1 to {}", Self::MAX_LIMIT)));
        }
        Ok(Self { limit, before })
    }
}

impl Default for MessagesPage {
    fn default() -> Self {
        Self { limit: Self::DEFAULT_LIMIT, before: None }
    }
}

pub async fn get(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    session_type: Option<SessionType>,
    page: MessagesPage,
) -> Result<Tagged<Conversation>, Error> {
    let session = find(app, scope, session_id, session_type).await?;
    let tag = session.tag();
    let cursors = Cursor::of(&("messages before", scope.tenant(), session_id));
    let before = page.before.map(|before| cursors.read("messages_before", &before)).transpose()?;
    // One row more than requested tells whether there is an older page.
    let mut messages = runs::store::conversation(&app.db, scope, session_id, before, page.limit + 1).await?;
    let has_more = messages.len() > usize::try_from(page.limit).unwrap_or(usize::MAX);
    if has_more {
        messages.remove(0);
    }
    let cursor = messages.first().filter(|_| has_more).map(|(place, _)| cursors.write(place));
    let messages = messages.into_iter().map(|(_, message)| message).collect();
    Ok(Tagged(tag, Conversation { session, messages, cursor }))
}

/// A page of all messages, including those of tools.
pub async fn messages(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    order: SortOrder,
    limit: u32,
    cursor: Option<&str>,
) -> Result<Page<MessageOfRun>, Error> {
    let started = Instant::now();
    find(app, scope, session_id, None).await?;
    let cursors = Cursor::of(&("messages", scope.tenant(), scope.user(), session_id, order));
    let after = cursor.map(|cursor| cursors.read("cursor", cursor)).transpose()?;
    let mut found = runs::store::messages_after(&app.db, scope, session_id, order, after, i64::from(limit) + 1).await?;
    let has_more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| has_more).map(|(place, ..)| cursors.write(place));
    let data = found.into_iter().map(|((seq, _), run_id, message)| MessageOfRun { run_id, seq, message });
    Ok(Page { data: data.collect(), meta: PageMeta::after_cursor(limit, next, started.elapsed()) })
}

/// The session, if it exists, is in the scope, and has the requested type; else a not-found error.
pub async fn find(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    session_type: Option<SessionType>,
) -> Result<Session, Error> {
    of_type(store::find(&app.db, scope, session_id).await?, session_id, session_type)
}

/// The session that was found, if it has the requested type; else a not-found error.
fn of_type(
    found: Option<Session>,
    session_id: &SessionId,
    session_type: Option<SessionType>,
) -> Result<Session, Error> {
    found.filter(|session| session_type.is_none_or(|wanted| wanted == session.session_type)).ok_or_else(|| {
        let kind = match session_type {
            None | Some(SessionType::Newer(_)) => "",
            Some(SessionType::Agent) => "Agent ",
            Some(SessionType::Team) => "Team ",
            Some(SessionType::Workflow) => "Workflow ",
        };
        Error::not_found(format!("{kind}Session with id '{session_id}' not found"))
    })
}
