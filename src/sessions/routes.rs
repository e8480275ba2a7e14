//! `/sessions`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::{
    model::{SessionId, SessionType},
    service::{self, CreateSession, MessagesPage},
    store::{self, SessionFilter, SortBy},
    wire::{SessionDetail, SessionItem, WithNulls},
};
use crate::{
    app::App,
    auth::{Caller, UserId},
    http::{
        Body, Path, Problem, Query,
        discovery::check_database,
        extract::absent_if_empty,
        paging::{Page, PageRequest, SortOrder},
        problem::ProblemDocument,
    },
    runs::{self, RunStatus, store::RunFilter, wire::RunSchema},
};

const MAX_IDS: usize = 1_000;

/// Which session, for endpoints on one.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SessionQuery {
    /// A session of another type is not found.
    #[serde(rename = "type", default, deserialize_with = "absent_if_empty")]
    #[param(rename = "type")]
    session_type: Option<SessionType>,
    /// Another user's session is not found.
    #[serde(default, deserialize_with = "absent_if_empty")]
    user_id: Option<UserId>,
    /// The database of `/config`; there is one.
    #[serde(default, deserialize_with = "absent_if_empty")]
    db_id: Option<String>,
    #[serde(default, deserialize_with = "absent_if_empty")]
    table: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    #[serde(rename = "type", default, deserialize_with = "absent_if_empty")]
    #[param(rename = "type")]
    session_type: Option<SessionType>,
    /// Sessions with this agent, team or workflow.
    #[serde(default, deserialize_with = "absent_if_empty")]
    component_id: Option<String>,
    #[serde(default, deserialize_with = "absent_if_empty")]
    user_id: Option<UserId>,
    /// A part of the name, in any case.
    #[serde(default, deserialize_with = "absent_if_empty")]
    session_name: Option<String>,
    #[param(minimum = 1, default = 1)]
    page: Option<u32>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    #[param(default = "created_at")]
    sort_by: Option<SortBy>,
    #[param(default = "desc")]
    sort_order: Option<SortOrder>,
    /// The database of `/config`; there is one.
    #[serde(default, deserialize_with = "absent_if_empty")]
    db_id: Option<String>,
    #[serde(default, deserialize_with = "absent_if_empty")]
    table: Option<String>,
}

/// Lists sessions, newest first, without their conversations.
#[utoipa::path(
    get,
    path = "/sessions",
    tag = "Sessions",
    operation_id = "list_sessions",
    params(ListQuery),
    responses(
        (status = 200, body = Page<SessionItem>),
        (status = 404, description = "Unknown database", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is refused", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn list_sessions(
    State(app): State<Arc<App>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<SessionItem>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let page = PageRequest::new(query.page, query.limit)?;
    let filter = SessionFilter {
        session_type: query.session_type,
        component_id: query.component_id,
        session_name: query.session_name,
    };
    let sort = (query.sort_by.unwrap_or_default(), query.sort_order.unwrap_or_default());
    let scope = Caller::claiming(query.user_id).scope();
    service::list(&app, &scope, &filter, sort, page).await.map(Json)
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CreateQuery {
    #[serde(rename = "type", default, deserialize_with = "absent_if_empty")]
    #[param(rename = "type", default = "agent")]
    session_type: Option<SessionType>,
    /// The database of `/config`; there is one.
    #[serde(default, deserialize_with = "absent_if_empty")]
    db_id: Option<String>,
}

/// A session to create; every field may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSessionBody {
    /// Absent: made here.
    #[serde(default)]
    session_id: Option<SessionId>,
    #[serde(default)]
    session_name: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    session_state: Option<Map<String, Value>>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    #[serde(default)]
    user_id: Option<UserId>,
    /// For `type=agent`.
    #[serde(default)]
    agent_id: Option<String>,
    /// For `type=team`.
    #[serde(default)]
    team_id: Option<String>,
    /// For `type=workflow`.
    #[serde(default)]
    workflow_id: Option<String>,
}

impl CreateSessionBody {
    /// The id that fits the type; one of another type is refused.
    fn component_id(&self, session_type: SessionType) -> Result<Option<String>, Problem> {
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

/// Creates an empty session. A run on an id that is not in use does so too.
#[utoipa::path(
    post,
    path = "/sessions",
    tag = "Sessions",
    operation_id = "create_session",
    params(CreateQuery),
    request_body = Option<CreateSessionBody>,
    responses(
        (status = 201, body = SessionDetail),
        (status = 400, description = "The body is no JSON", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "Unknown database", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The id is in use", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "The body is not declared as JSON", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A field is refused", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn create_session(
    State(app): State<Arc<App>>,
    Query(query): Query<CreateQuery>,
    body: Option<Body<CreateSessionBody>>,
) -> Result<(StatusCode, Json<SessionDetail>), Problem> {
    check_database(query.db_id.as_deref(), None)?;
    let body = body.map(|Body(body)| body).unwrap_or_default();
    let session_type = query.session_type.unwrap_or_default();
    let create = CreateSession {
        component_id: body.component_id(session_type)?,
        session_id: body.session_id,
        session_type,
        session_name: body.session_name,
        session_state: body.session_state.unwrap_or_default(),
        metadata: body.metadata.unwrap_or_default(),
    };
    let detail = service::create(&app, &Caller::claiming(body.user_id), create).await?;
    Ok((StatusCode::CREATED, Json(detail)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GetQuery {
    /// A session of another type is not found.
    #[serde(rename = "type", default, deserialize_with = "absent_if_empty")]
    #[param(rename = "type")]
    session_type: Option<SessionType>,
    /// Another user's session is not found.
    #[serde(default, deserialize_with = "absent_if_empty")]
    user_id: Option<UserId>,
    /// How many of the newest messages to answer with.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    messages_limit: Option<u32>,
    /// Answer with what was said before this `messages_cursor`.
    #[serde(default, deserialize_with = "absent_if_empty")]
    messages_before: Option<String>,
    /// The database of `/config`; there is one.
    #[serde(default, deserialize_with = "absent_if_empty")]
    db_id: Option<String>,
    #[serde(default, deserialize_with = "absent_if_empty")]
    table: Option<String>,
}

/// Shows a session with the newest part of its conversation.
#[utoipa::path(
    get,
    path = "/sessions/{session_id}",
    tag = "Sessions",
    operation_id = "get_session",
    params(("session_id" = String, Path), GetQuery),
    responses(
        (status = 200, body = SessionDetail),
        (status = 404, description = "There is no such session, or it is not yours", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is refused", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn get_session(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Query(query): Query<GetQuery>,
) -> Result<Json<SessionDetail>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let page = MessagesPage::new(query.messages_limit, query.messages_before.as_deref())?;
    let scope = Caller::claiming(query.user_id).scope();
    service::get(&app, &scope, &session_id, query.session_type, page).await.map(Json)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameBody {
    #[schema(min_length = 1, max_length = 500, example = "Product discussion")]
    session_name: String,
}

/// Gives a session a name. It is kept whatever runs do meanwhile.
#[utoipa::path(
    post,
    path = "/sessions/{session_id}/rename",
    tag = "Sessions",
    operation_id = "rename_session",
    params(("session_id" = String, Path), SessionQuery),
    request_body = RenameBody,
    responses(
        (status = 200, body = SessionDetail),
        (status = 400, description = "The body is no JSON", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "There is no such session, or it is not yours", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "The body is not declared as JSON", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A field is refused", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn rename_session(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Query(query): Query<SessionQuery>,
    Body(body): Body<RenameBody>,
) -> Result<Json<WithNulls<SessionDetail>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = Caller::claiming(query.user_id).scope();
    let detail = service::rename(&app, &scope, &session_id, query.session_type, &body.session_name).await?;
    Ok(Json(WithNulls(detail)))
}

/// Deletes a session with everything in it. Deleting what is not there is done already.
#[utoipa::path(
    delete,
    path = "/sessions/{session_id}",
    tag = "Sessions",
    operation_id = "delete_session",
    params(("session_id" = String, Path), SessionQuery),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "Unknown database", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is refused", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn delete_session(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Query(query): Query<SessionQuery>,
) -> Result<StatusCode, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = Caller::claiming(query.user_id).scope();
    let types = query.session_type.map(|session_type| vec![session_type]);
    store::delete(&app.db, &scope, &[session_id], types.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteSessionsBody {
    #[schema(min_items = 1, max_items = 1000)]
    session_ids: Vec<SessionId>,
    /// One for each id; a session of another type is passed over.
    #[serde(default)]
    session_types: Option<Vec<SessionType>>,
}

/// Deletes several sessions. Those that are not there, or not yours, are passed over.
#[utoipa::path(
    delete,
    path = "/sessions",
    tag = "Sessions",
    operation_id = "delete_sessions",
    params(SessionQuery),
    request_body = DeleteSessionsBody,
    responses(
        (status = 204, description = "They are gone"),
        (status = 400, description = "The body is no JSON, or its lists differ in length", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "Unknown database", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "The body is not declared as JSON", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A field is refused", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn delete_sessions(
    State(app): State<Arc<App>>,
    Query(query): Query<SessionQuery>,
    Body(body): Body<DeleteSessionsBody>,
) -> Result<StatusCode, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    if !(1..=MAX_IDS).contains(&body.session_ids.len()) {
        let detail = format!("has {} ids; give 1 to {MAX_IDS}", body.session_ids.len());
        return Err(Problem::invalid("/session_ids", detail));
    }
    if body.session_types.as_ref().is_some_and(|types| types.len() != body.session_ids.len()) {
        return Err(Problem::unreadable("Session IDs and session types must have the same length"));
    }
    let scope = Caller::claiming(query.user_id).scope();
    store::delete(&app.db, &scope, &body.session_ids, body.session_types.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RunsQuery {
    /// A session of another type is not found.
    #[serde(rename = "type", default, deserialize_with = "absent_if_empty")]
    #[param(rename = "type")]
    session_type: Option<SessionType>,
    /// Another user's session is not found.
    #[serde(default, deserialize_with = "absent_if_empty")]
    user_id: Option<UserId>,
    /// Unix seconds, inclusive.
    created_after: Option<i64>,
    /// Unix seconds, inclusive.
    created_before: Option<i64>,
    /// In any case; may be given several times.
    #[serde(default)]
    status: Vec<String>,
    /// The newest that many runs.
    #[param(minimum = 1, maximum = 1000, default = 1000)]
    limit: Option<u32>,
    /// The database of `/config`; there is one.
    #[serde(default, deserialize_with = "absent_if_empty")]
    db_id: Option<String>,
    #[serde(default, deserialize_with = "absent_if_empty")]
    table: Option<String>,
}

const MAX_RUNS: u32 = 1_000;

impl RunsQuery {
    fn filter(&self) -> Result<RunFilter, Problem> {
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

/// Lists a session's runs with their messages, oldest first.
#[utoipa::path(
    get,
    path = "/sessions/{session_id}/runs",
    tag = "Sessions",
    operation_id = "list_session_runs",
    params(("session_id" = String, Path), RunsQuery),
    responses(
        (status = 200, body = Vec<RunSchema>),
        (status = 400, description = "There is no such status", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "There is no such session, or it is not yours", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is refused", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn list_session_runs(
    State(app): State<Arc<App>>,
    Path(session_id): Path<SessionId>,
    Query(query): Query<RunsQuery>,
) -> Result<Json<Vec<RunSchema>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = Caller::claiming(query.user_id.clone()).scope();
    let filter = query.filter()?;
    if query.session_type.is_some() {
        service::find(&app, &scope, &session_id, query.session_type).await?;
    }
    let runs = runs::service::list(&app, &scope, &session_id, &filter).await?;
    Ok(Json(runs.into_iter().map(|(run, messages)| RunSchema::new(run, messages)).collect()))
}
