//! `POST /search` and `POST /memories/search`.

use std::{sync::Arc, time::Instant};

use axum::{Json, extract::State};

use super::{
    request::{SearchBody, SearchMemoriesBody},
    wire::{MemoryHit, SearchHit, SearchResults},
};
use crate::{
    api::{
        Body, NoQuery, Problem,
        refusals::{BodyRefused, Unavailable},
    },
    app::App,
    model::Caller,
    search::service,
};

/// Searches messages and memories, best match first.
#[utoipa::path(
    post,
    path = "/search",
    tag = "Search",
    operation_id = "search",
    request_body = SearchBody,
    responses((status = 200, body = SearchResults<SearchHit>), BodyRefused, Unavailable)
)]
pub async fn search(
    State(app): State<Arc<App>>,
    caller: Caller,
    _: NoQuery,
    Body(body): Body<SearchBody>,
) -> Result<Json<SearchResults<SearchHit>>, Problem> {
    let (started, explain) = (Instant::now(), body.explain);
    let found = service::search(&app, &body.into_search(caller)?).await?;
    let data = found.hits.into_iter().map(|hit| SearchHit::new(hit, explain)).collect();
    Ok(Json(SearchResults::new(data, started.elapsed(), explain.then_some(found.vectors))))
}

/// Searches a user's memories, best match first.
#[utoipa::path(
    post,
    path = "/memories/search",
    tag = "Memories",
    operation_id = "search_memories",
    request_body = SearchMemoriesBody,
    responses((status = 200, body = SearchResults<MemoryHit>), BodyRefused, Unavailable)
)]
pub async fn search_memories(
    State(app): State<Arc<App>>,
    caller: Caller,
    _: NoQuery,
    Body(body): Body<SearchMemoriesBody>,
) -> Result<Json<SearchResults<MemoryHit>>, Problem> {
    let (started, explain) = (Instant::now(), body.explain);
    let found = service::search(&app, &body.into_search(caller)?).await?;
    let data = found.hits.into_iter().filter_map(|hit| MemoryHit::new(hit, explain)).collect();
    Ok(Json(SearchResults::new(data, started.elapsed(), explain.then_some(found.vectors))))
}
