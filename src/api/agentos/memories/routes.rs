//! `/memories`, `/memory_topics`, `/user_memory_stats`: reading and changing memories of users.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::{
    request::{CreateMemoryBody, DeleteMemoriesBody, ListQuery, MemoryQuery, StatsQuery, UpdateMemoryBody},
    wire::{MemoryEvent, MemorySchema, UserMemoryStats},
};
use crate::{
    api::idempotency::IdempotencyKey,
    api::{
        Asked, Body, ForUser, Path, Problem,
        discovery::check_database,
        problem::ProblemDocument,
        refusals::{BodyRefused, NotThere, ParametersRefused, Unavailable},
    },
    app::App,
    memories::{change::Change, service, store},
    model::{
        MemoryId,
        paging::{Page, PageRequest},
    },
};

/// Lists current memories, most recently changed first by default. Superseded and expired ones are left out.
#[utoipa::path(
    get,
    path = "/memories",
    tag = "Memories",
    operation_id = "list_memories",
    params(ListQuery, ForUser),
    responses((status = 200, body = Page<MemorySchema>), NotThere, ParametersRefused, Unavailable)
)]
pub async fn list_memories(
    State(app): State<Arc<App>>,
    Asked { caller, query }: Asked<ListQuery>,
) -> Result<Json<Page<MemorySchema>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let page = PageRequest::new(query.page, query.limit)?;
    let filter = query.filter();
    let sort = (query.sort_by.unwrap_or_default(), query.sort_order.unwrap_or_default());
    let scope = caller.scope();
    Ok(Json(service::list(&app, &scope, &filter, sort, page).await?.map(MemorySchema::from)))
}

/// Stores a memory of a user. Memories are deduplicated: if it is known already, the existing one is returned with the
/// new topics added.
#[utoipa::path(
    post,
    path = "/memories",
    tag = "Memories",
    operation_id = "create_memory",
    params(MemoryQuery, ForUser, IdempotencyKey),
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
    Asked { caller, query }: Asked<MemoryQuery>,
    Body(body): Body<CreateMemoryBody>,
) -> Result<Json<MemorySchema>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    body.check()?;
    let caller = caller.acting_for(body.user_id, "/user_id")?;
    let user = caller
        .user()
        .ok_or_else(|| Problem::unreadable("User ID is required: give user_id, whom the memory is about"))?;
    let add = Change::Add { memory: body.memory, topics: body.topics.unwrap_or_default(), expires_at: body.expires_at };
    Ok(Json(service::create(&app, caller.tenant(), user, add).await?.into()))
}

/// Deletes memories with their history. Ids that do not exist, or are not yours, are ignored.
#[utoipa::path(
    delete,
    path = "/memories",
    tag = "Memories",
    operation_id = "delete_memories",
    params(MemoryQuery, ForUser),
    request_body = DeleteMemoriesBody,
    responses((status = 204, description = "They are gone"), BodyRefused, NotThere, Unavailable)
)]
pub async fn delete_memories(
    State(app): State<Arc<App>>,
    Asked { caller, query }: Asked<MemoryQuery>,
    Body(body): Body<DeleteMemoriesBody>,
) -> Result<StatusCode, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let ids = body.ids()?;
    let scope = caller.acting_for(body.user_id.clone(), "/user_id")?.scope();
    store::delete(&app.db, &scope, &ids).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shows a memory, even if it has been superseded.
#[utoipa::path(
    get,
    path = "/memories/{memory_id}",
    tag = "Memories",
    operation_id = "get_memory",
    params(("memory_id" = MemoryId, Path), MemoryQuery, ForUser),
    responses((status = 200, body = MemorySchema), NotThere, ParametersRefused, Unavailable)
)]
pub async fn get_memory(
    State(app): State<Arc<App>>,
    Path(memory_id): Path<MemoryId>,
    Asked { caller, query }: Asked<MemoryQuery>,
) -> Result<Json<MemorySchema>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    Ok(Json(service::get(&app, &caller.scope(), memory_id).await?.into()))
}

/// Changes a memory. From then on it counts as the user's own, and is kept when the conversation that it was learned
/// from is deleted.
#[utoipa::path(
    patch,
    path = "/memories/{memory_id}",
    tag = "Memories",
    operation_id = "update_memory",
    params(("memory_id" = MemoryId, Path), MemoryQuery, ForUser),
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
    Asked { caller, query }: Asked<MemoryQuery>,
    Body(body): Body<UpdateMemoryBody>,
) -> Result<Json<MemorySchema>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let scope = caller.acting_for(body.user_id.clone(), "/user_id")?.scope();
    Ok(Json(service::edit(&app, &scope, memory_id, body.into_edit()?).await?.into()))
}

/// Deletes a memory with its history. DELETE is idempotent: 204 even if the memory does not exist.
#[utoipa::path(
    delete,
    path = "/memories/{memory_id}",
    tag = "Memories",
    operation_id = "delete_memory",
    params(("memory_id" = MemoryId, Path), MemoryQuery, ForUser),
    responses((status = 204, description = "It is gone"), NotThere, ParametersRefused, Unavailable)
)]
pub async fn delete_memory(
    State(app): State<Arc<App>>,
    Path(memory_id): Path<MemoryId>,
    Asked { caller, query }: Asked<MemoryQuery>,
) -> Result<StatusCode, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    store::delete(&app.db, &caller.scope(), &[memory_id]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shows the history of a memory and of those that it superseded, oldest first.
#[utoipa::path(
    get,
    path = "/memories/{memory_id}/history",
    tag = "Memories",
    operation_id = "get_memory_history",
    params(("memory_id" = MemoryId, Path), MemoryQuery, ForUser),
    responses((status = 200, body = Vec<MemoryEvent>), NotThere, ParametersRefused, Unavailable)
)]
pub async fn get_memory_history(
    State(app): State<Arc<App>>,
    Path(memory_id): Path<MemoryId>,
    Asked { caller, query }: Asked<MemoryQuery>,
) -> Result<Json<Vec<MemoryEvent>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let events = service::history(&app, &caller.scope(), memory_id).await?;
    Ok(Json(events.into_iter().map(MemoryEvent::from).collect()))
}

/// Lists the topics of all current memories, in alphabetical order.
#[utoipa::path(
    get,
    path = "/memory_topics",
    tag = "Memories",
    operation_id = "list_memory_topics",
    params(MemoryQuery, ForUser),
    responses((status = 200, body = Vec<String>), NotThere, ParametersRefused, Unavailable)
)]
pub async fn list_memory_topics(
    State(app): State<Arc<App>>,
    Asked { caller, query }: Asked<MemoryQuery>,
) -> Result<Json<Vec<String>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    Ok(Json(store::topics(&app.db, &caller.scope()).await?))
}

/// Counts the memories of each user, most recently changed first.
#[utoipa::path(
    get,
    path = "/user_memory_stats",
    tag = "Memories",
    operation_id = "get_user_memory_stats",
    params(StatsQuery, ForUser),
    responses((status = 200, body = Page<UserMemoryStats>), NotThere, ParametersRefused, Unavailable)
)]
pub async fn get_user_memory_stats(
    State(app): State<Arc<App>>,
    Asked { caller, query }: Asked<StatsQuery>,
) -> Result<Json<Page<UserMemoryStats>>, Problem> {
    check_database(query.db_id.as_deref(), query.table.as_deref())?;
    let page = PageRequest::new(query.page, query.limit)?;
    let stats = service::stats(&app, &caller.scope(), page).await?;
    Ok(Json(stats.map(UserMemoryStats::from)))
}
