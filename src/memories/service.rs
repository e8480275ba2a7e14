//! The rules of memories that are told, read and changed over the API.

use std::time::Instant;

use super::{
    change::{self, Author, Change, Changed},
    model::{self, Action, Memory, MemoryId},
    store::{self, Edit, MemoryFilter, Recorded, SortBy},
    wire::{MemoryEvent, MemorySchema, UpdatedMemory, UserMemoryStats},
};
use crate::{
    app::App,
    auth::{Scope, UserId},
    clock, database,
    http::{
        Problem,
        paging::{Page, PageRequest, SortOrder},
        problem::OnConstraint,
    },
    search::vectors,
};

pub async fn list(
    app: &App,
    scope: &Scope,
    filter: &MemoryFilter,
    sort: (SortBy, SortOrder),
    page: PageRequest,
) -> Result<Page<MemorySchema>, Problem> {
    let started = Instant::now();
    let total = store::count(&app.db, scope, filter).await?;
    let memories = store::list(&app.db, scope, filter, sort, page).await?;
    let data = memories.into_iter().map(MemorySchema::from).collect();
    Ok(Page { data, meta: page.meta(total, started.elapsed()) })
}

/// Stores what a user's product says of them. What is known already is not stored twice.
pub async fn create(app: &App, user: &UserId, add: Change) -> Result<MemorySchema, Problem> {
    let author = Author::told(app, user);
    let mut tx = database::begin(&app.db).await?;
    store::lock_user(&mut tx, user).await?;
    let changed = change::apply(&mut tx, &author, &add).await?;
    tx.commit().await?;
    vectors::wake(app).await;
    let (Changed::Added(id) | Changed::Known(id) | Changed::Replaced { new: id, .. } | Changed::Forgotten(id)) =
        changed
    else {
        return Err(Problem::not_found("The memory is not there any more"));
    };
    get(app, &Scope::User(user.clone()), id).await
}

pub async fn get(app: &App, scope: &Scope, memory_id: MemoryId) -> Result<MemorySchema, Problem> {
    find(app, scope, memory_id).await.map(MemorySchema::from)
}

async fn find(app: &App, scope: &Scope, memory_id: MemoryId) -> Result<Memory, Problem> {
    let found = store::find(&app.db, scope, memory_id).await?;
    found.ok_or_else(|| Problem::not_found(format!("Memory with ID {memory_id} not found")))
}

/// Changes a memory; it is the user's own from then on.
pub async fn edit(app: &App, scope: &Scope, memory_id: MemoryId, edit: Edit) -> Result<MemorySchema, Problem> {
    let memory = find(app, scope, memory_id).await?;
    if memory.valid_to.is_some() {
        let detail = format!("Memory {memory_id} has been replaced by another; change that one");
        return Err(Problem::conflict(detail));
    }
    let (user, at) = (&memory.user_id, clock::now());
    let hash = edit.memory.as_deref().map(model::hash);
    let text_config = &app.settings.search.text_config;
    let mut tx = database::begin(&app.db).await?;
    store::lock_user(&mut tx, user).await?;
    store::edit(&mut tx, user, memory_id, &edit, hash.as_deref(), text_config, at)
        .await
        .on_constraint("memories_once", || {
            Problem::conflict("The user has another memory that says the same; delete one of the two")
        })?;
    let event = Recorded {
        user_id: user,
        memory_id,
        action: Action::Edit,
        memory: edit.memory.as_deref().unwrap_or(&memory.memory),
        topics: edit.topics.as_deref().unwrap_or(&memory.topics),
        source: None,
        at,
    };
    store::record(&mut tx, &event).await.on_constraint("memory_events_memory_exists", || {
        Problem::not_found(format!("Memory with ID {memory_id} not found"))
    })?;
    tx.commit().await?;
    vectors::wake(app).await;
    get(app, scope, memory_id).await
}

/// What happened to a memory and to those that it took the place of, oldest first.
pub async fn history(app: &App, scope: &Scope, memory_id: MemoryId) -> Result<Vec<MemoryEvent>, Problem> {
    find(app, scope, memory_id).await?;
    let events = store::history(&app.db, scope, memory_id).await?;
    Ok(events.into_iter().map(MemoryEvent::from).collect())
}

/// How many memories `MemoryUpdateCompleted` tells at most.
const MOST_TOLD: i64 = 1_000;

/// All that is known of a user, as `MemoryUpdateCompleted` tells it.
pub async fn updated(app: &App, user: &UserId) -> Result<Vec<UpdatedMemory>, sqlx::Error> {
    let memories = store::with_input(&app.db, user, MOST_TOLD).await?;
    Ok(memories.into_iter().map(UpdatedMemory::from).collect())
}

/// Which users have memories, and how many.
pub async fn stats(app: &App, scope: &Scope, page: PageRequest) -> Result<Page<UserMemoryStats>, Problem> {
    let started = Instant::now();
    let (users, total) = store::stats(&app.db, scope, page).await?;
    let data = users.into_iter().map(UserMemoryStats::from).collect();
    Ok(Page { data, meta: page.meta(total, started.elapsed()) })
}

/// How many are erased in one statement.
const BATCH: i64 = 1_000;

/// Erases what has expired; by the clock.
pub async fn sweep(app: &App) -> Result<(), sqlx::Error> {
    while store::delete_expired(&app.db, BATCH).await? > 0 {}
    Ok(())
}
