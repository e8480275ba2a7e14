//! `/memories`, `/memory_topics`, `/user_memory_stats`: what is known of users, read and changed.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::{
    change::Change,
    model::MemoryId,
    request::{CreateMemoryBody, DeleteMemoriesBody, ListQuery, MemoryQuery, StatsQuery, UpdateMemoryBody},
    service, store,
    wire::{MemoryEvent, MemorySchema, UserMemoryStats},
};
use crate::{
    app::App,
    auth::Caller,
    http::{
        Body, Path, Problem, Query,
        discovery::check_database,
        extract::one_user,
        idempotency::IdempotencyKey,
        paging::{Page, PageRequest},
        problem::ProblemDocument,
        refusals::{BodyRefused, NotThere, ParametersRefused, Unavailable},
    },
};

/// Lists memories that hold, the last changed first.
#[utoipa::path(
    get,
    path = "/memories",
    tag = "Memories",
    operation_id = "list_memories",
    params(ListQuery),
    responses((status = 200, body = Page<MemorySchema>), NotThere, ParametersRefused, Unavailable)
)]
pub async fn list_memories(
    State(app): State<Arc<App>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<MemorySchema>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let page = PageRequest::new(query.page, query.limit)?;
    let filter = query.filter();
    let sort = (query.sort_by.unwrap_or_default(), query.sort_order.unwrap_or_default());
    let scope = Caller::claiming(query.user_id).scope();
    service::list(&app, &scope, &filter, sort, page).await.map(Json)
}

/// Tells a user's memory. One that is known already is answered as it is, with the new topics.
#[utoipa::path(
    post,
    path = "/memories",
    tag = "Memories",
    operation_id = "create_memory",
    params(MemoryQuery, IdempotencyKey),
    request_body = CreateMemoryBody,
    responses(
        (status = 200, body = MemorySchema),
        (status = 409, description = "The first request with this key is still carried out", body = ProblemDocument, content_type = "application/problem+json"),
        BodyRefused,
        NotThere,
        Unavailable,
    )
)]
pub async fn create_memory(
    State(app): State<Arc<App>>,
    Query(query): Query<MemoryQuery>,
    Body(body): Body<CreateMemoryBody>,
) -> Result<Json<MemorySchema>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    body.check()?;
    let user = one_user(query.user_id, body.user_id, "/user_id")?;
    let user =
        user.ok_or_else(|| Problem::unreadable("User ID is required: give user_id, whom the memory is about"))?;
    let add = Change::Add { memory: body.memory, topics: body.topics.unwrap_or_default(), expires_at: body.expires_at };
    service::create(&app, &user, add).await.map(Json)
}

/// Erases memories with their history. Those that are not there, or not yours, are passed over.
#[utoipa::path(
    delete,
    path = "/memories",
    tag = "Memories",
    operation_id = "delete_memories",
    params(MemoryQuery),
    request_body = DeleteMemoriesBody,
    responses((status = 204, description = "They are gone"), BodyRefused, NotThere, Unavailable)
)]
pub async fn delete_memories(
    State(app): State<Arc<App>>,
    Query(query): Query<MemoryQuery>,
    Body(body): Body<DeleteMemoriesBody>,
) -> Result<StatusCode, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let ids = body.ids()?;
    let scope = Caller::claiming(one_user(query.user_id, body.user_id.clone(), "/user_id")?).scope();
    store::delete(&app.db, &scope, &ids).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shows a memory, also one that another has taken the place of.
#[utoipa::path(
    get,
    path = "/memories/{memory_id}",
    tag = "Memories",
    operation_id = "get_memory",
    params(("memory_id" = MemoryId, Path), MemoryQuery),
    responses((status = 200, body = MemorySchema), NotThere, ParametersRefused, Unavailable)
)]
pub async fn get_memory(
    State(app): State<Arc<App>>,
    Path(memory_id): Path<MemoryId>,
    Query(query): Query<MemoryQuery>,
) -> Result<Json<MemorySchema>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    service::get(&app, &Caller::claiming(query.user_id).scope(), memory_id).await.map(Json)
}

/// Changes a memory. From then on it is the user's own, and stays when the conversation that it came from is deleted.
#[utoipa::path(
    patch,
    path = "/memories/{memory_id}",
    tag = "Memories",
    operation_id = "update_memory",
    params(("memory_id" = MemoryId, Path), MemoryQuery),
    request_body = UpdateMemoryBody,
    responses(
        (status = 200, body = MemorySchema),
        (status = 409, description = "Another memory says the same, or has taken its place", body = ProblemDocument, content_type = "application/problem+json"),
        BodyRefused,
        NotThere,
        Unavailable,
    )
)]
pub async fn update_memory(
    State(app): State<Arc<App>>,
    Path(memory_id): Path<MemoryId>,
    Query(query): Query<MemoryQuery>,
    Body(body): Body<UpdateMemoryBody>,
) -> Result<Json<MemorySchema>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = Caller::claiming(one_user(query.user_id, body.user_id.clone(), "/user_id")?).scope();
    service::edit(&app, &scope, memory_id, body.into_edit()?).await.map(Json)
}

/// Erases a memory with its history. Erasing what is not there is done already.
#[utoipa::path(
    delete,
    path = "/memories/{memory_id}",
    tag = "Memories",
    operation_id = "delete_memory",
    params(("memory_id" = MemoryId, Path), MemoryQuery),
    responses((status = 204, description = "It is gone"), NotThere, ParametersRefused, Unavailable)
)]
pub async fn delete_memory(
    State(app): State<Arc<App>>,
    Path(memory_id): Path<MemoryId>,
    Query(query): Query<MemoryQuery>,
) -> Result<StatusCode, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    store::delete(&app.db, &Caller::claiming(query.user_id).scope(), &[memory_id]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tells what happened to a memory and to those that it took the place of, oldest first.
#[utoipa::path(
    get,
    path = "/memories/{memory_id}/history",
    tag = "Memories",
    operation_id = "get_memory_history",
    params(("memory_id" = MemoryId, Path), MemoryQuery),
    responses((status = 200, body = Vec<MemoryEvent>), NotThere, ParametersRefused, Unavailable)
)]
pub async fn get_memory_history(
    State(app): State<Arc<App>>,
    Path(memory_id): Path<MemoryId>,
    Query(query): Query<MemoryQuery>,
) -> Result<Json<Vec<MemoryEvent>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    service::history(&app, &Caller::claiming(query.user_id).scope(), memory_id).await.map(Json)
}

/// Lists the topics of all memories, in alphabetical order.
#[utoipa::path(
    get,
    path = "/memory_topics",
    tag = "Memories",
    operation_id = "list_memory_topics",
    params(MemoryQuery),
    responses((status = 200, body = Vec<String>), NotThere, ParametersRefused, Unavailable)
)]
pub async fn list_memory_topics(
    State(app): State<Arc<App>>,
    Query(query): Query<MemoryQuery>,
) -> Result<Json<Vec<String>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    Ok(Json(store::topics(&app.db, &Caller::claiming(query.user_id).scope()).await?))
}

/// Counts the memories of each user, the last changed first.
#[utoipa::path(
    get,
    path = "/user_memory_stats",
    tag = "Memories",
    operation_id = "get_user_memory_stats",
    params(StatsQuery),
    responses((status = 200, body = Page<UserMemoryStats>), NotThere, ParametersRefused, Unavailable)
)]
pub async fn get_user_memory_stats(
    State(app): State<Arc<App>>,
    Query(query): Query<StatsQuery>,
) -> Result<Json<Page<UserMemoryStats>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let page = PageRequest::new(query.page, query.limit)?;
    service::stats(&app, &Caller::claiming(query.user_id).scope(), page).await.map(Json)
}
