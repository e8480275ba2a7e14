//! The rules of sessions.

use std::time::Instant;

use axum::http::StatusCode;
use chrono::Utc;
use serde_json::{Map, Value};

use super::{
    model::{Session, SessionId, SessionType},
    store::{self, Edit, NewSession, SessionFilter, SortBy},
    wire::{SessionDetail, SessionItem},
};
use crate::{
    app::App,
    auth::{Caller, Scope},
    http::{
        Problem,
        paging::{Page, PageRequest, SortOrder},
        problem::OnConstraint,
    },
    runs::{self, wire::MessageView},
};

const MAX_NAME_CHARS: usize = 500;

/// A session that a caller asks for.
#[derive(Debug)]
pub struct CreateSession {
    pub session_id: Option<SessionId>,
    pub session_type: SessionType,
    pub component_id: Option<String>,
    pub session_name: Option<String>,
    pub session_state: Map<String, Value>,
    pub metadata: Map<String, Value>,
}

pub async fn create(app: &App, caller: &Caller, create: CreateSession) -> Result<SessionDetail, Problem> {
    let session_name = create.session_name.filter(|name| !name.trim().is_empty());
    if let Some(name) = &session_name {
        check_name(name)?;
    }
    let new = NewSession {
        session_id: create.session_id.unwrap_or_else(SessionId::mint),
        session_type: create.session_type,
        component_id: create.component_id,
        user_id: caller.user().cloned(),
        session_name,
        session_state: create.session_state,
        metadata: create.metadata,
        at: Utc::now(),
    };
    let (scope, id) = (caller.scope(), &new.session_id);
    let inserted = store::insert(&app.db, &new).await;
    let taken = "This session id is in use; choose another, or leave it out";
    match inserted.on_constraint("sessions_pkey", || Problem::conflict(taken)) {
        Ok(()) => get(app, &scope, id, None, MessagesPage::default()).await,
        // Whose it is must not show.
        Err(problem)
            if problem.status() == StatusCode::CONFLICT && store::find(&app.db, &scope, id).await?.is_some() =>
        {
            let detail = format!("Session with id '{id}' already exists. Use PATCH /sessions/{id} to update it.");
            Err(Problem::conflict(detail))
        }
        Err(problem) => Err(problem),
    }
}

pub async fn list(
    app: &App,
    scope: &Scope,
    filter: &SessionFilter,
    sort: (SortBy, SortOrder),
    page: PageRequest,
) -> Result<Page<SessionItem>, Problem> {
    let started = Instant::now();
    let total = store::count(&app.db, scope, filter).await?;
    let sessions = store::list(&app.db, scope, filter, sort, page).await?;
    let data = sessions.into_iter().map(SessionItem::from).collect();
    Ok(Page { data, meta: page.meta(total, started.elapsed()) })
}

/// Which part of a conversation to read.
#[derive(Clone, Copy, Debug)]
pub struct MessagesPage {
    pub limit: i64,
    /// Read what was said before this place.
    pub before: Option<(i64, i32)>,
}

impl MessagesPage {
    pub const DEFAULT_LIMIT: i64 = 100;
    pub const MAX_LIMIT: i64 = 1_000;

    pub fn new(limit: Option<u32>, before: Option<&str>) -> Result<Self, Problem> {
        let limit = limit.map_or(Self::DEFAULT_LIMIT, i64::from);
        if !(1..=Self::MAX_LIMIT).contains(&limit) {
            return Err(Problem::invalid("messages_limit", format!("is {limit}; use 1 to {}", Self::MAX_LIMIT)));
        }
        let before = before.map(parse_cursor).transpose()?;
        Ok(Self { limit, before })
    }
}

impl Default for MessagesPage {
    fn default() -> Self {
        Self { limit: Self::DEFAULT_LIMIT, before: None }
    }
}

fn parse_cursor(cursor: &str) -> Result<(i64, i32), Problem> {
    cursor
        .split_once('.')
        .and_then(|(seq, index)| Some((seq.parse().ok()?, index.parse().ok()?)))
        .filter(|(seq, index)| *seq > 0 && *index >= 0)
        .ok_or_else(|| Problem::invalid("messages_before", "is no cursor; give a messages_cursor of this session"))
}

pub async fn get(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    session_type: Option<SessionType>,
    page: MessagesPage,
) -> Result<SessionDetail, Problem> {
    let session = find(app, scope, session_id, session_type).await?;
    // One more than asked for tells whether there is an older page.
    let mut messages = runs::store::conversation(&app.db, scope, session_id, page.before, page.limit + 1).await?;
    let has_more = messages.len() > usize::try_from(page.limit).unwrap_or(usize::MAX);
    if has_more {
        messages.remove(0);
    }
    let cursor = messages.first().filter(|_| has_more).map(|((seq, index), _)| format!("{seq}.{index}"));
    let views = messages.into_iter().map(|(_, message)| MessageView::new(message, false)).collect();
    Ok(SessionDetail::new(session, &app.agents, views, cursor))
}

/// The session, if it is there, the caller's, and of the type that was asked for.
pub async fn find(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    session_type: Option<SessionType>,
) -> Result<Session, Problem> {
    let found = store::find(&app.db, scope, session_id).await?;
    found.filter(|session| session_type.is_none_or(|wanted| wanted == session.session_type)).ok_or_else(|| {
        let kind = match session_type {
            None => "",
            Some(SessionType::Agent) => "Agent ",
            Some(SessionType::Team) => "Team ",
            Some(SessionType::Workflow) => "Workflow ",
        };
        Problem::not_found(format!("{kind}Session with id '{session_id}' not found").trim_start().to_owned())
    })
}

/// Makes a user's changes. They stand whatever runs do meanwhile.
pub async fn edit(
    app: &App,
    scope: &Scope,
    session_id: &SessionId,
    session_type: Option<SessionType>,
    edit: Edit,
) -> Result<SessionDetail, Problem> {
    if let Some(name) = &edit.session_name {
        check_name(name)?;
    }
    find(app, scope, session_id, session_type).await?;
    if !store::edit(&app.db, scope, session_id, &edit, Utc::now()).await? {
        return Err(Problem::not_found(format!("Session with id '{session_id}' not found")));
    }
    get(app, scope, session_id, session_type, MessagesPage::default()).await
}

fn check_name(name: &str) -> Result<(), Problem> {
    if name.trim().is_empty() {
        return Err(Problem::invalid("/session_name", "is empty; give the session a name"));
    }
    match name.chars().count() {
        0..=MAX_NAME_CHARS => Ok(()),
        count => {
            let detail = format!("has {count} characters; use at most {MAX_NAME_CHARS}");
            Err(Problem::invalid("/session_name", detail))
        }
    }
}
