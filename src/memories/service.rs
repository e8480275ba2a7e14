//! The rules for memories that are created, read and changed over the API.

use std::time::Instant;

use super::{
    change::{self, Author, Change, Changed},
    store::{self, Edit, Event, MemoryFilter, MemoryWithInput, Recorded, SortBy, UserStats},
};
use crate::{
    app::App,
    clock, database,
    events::KnownMemory,
    model::{
        Error, Memory, MemoryId, OnConstraint, Scope, TenantId, UserId, memory as model,
        memory::Action,
        paging::{Page, PageRequest, SortOrder},
    },
    search::vectors,
};

pub async fn list(
    app: &App,
    scope: &Scope,
    filter: &MemoryFilter,
    sort: (SortBy, SortOrder),
    page: PageRequest,
) -> Result<Page<Memory>, Error> {
    let started = Instant::now();
    let total = store::count(&app.db, scope, filter).await?;
    let memories = store::list(&app.db, scope, filter, sort, page).await?;
    Ok(Page { data: memories, meta: page.meta(total, started.elapsed()) })
}

/// Creates a memory over the API. A duplicate is not stored again; the known memory is returned.
pub async fn create(app: &App, tenant: &TenantId, user: &UserId, add: Change) -> Result<Memory, Error> {
    let author = Author::told(app, tenant, user);
    let mut tx = database::begin(&app.db).await?;
    store::lock_user(&mut tx, tenant, user).await?;
    let changed = change::apply(&mut tx, &author, &add).await?;
    tx.commit().await?;
    vectors::wake(app).await;
    let (Changed::Added(id) | Changed::Known(id) | Changed::Replaced { new: id, .. } | Changed::Forgotten(id)) =
        changed
    else {
        return Err(Error::not_found("The memory is not there any more"));
    };
    get(app, &Scope::User(tenant.clone(), user.clone()), id).await
}

pub async fn get(app: &App, scope: &Scope, memory_id: MemoryId) -> Result<Memory, Error> {
    let found = store::find(&app.db, scope, memory_id).await?;
    found.ok_or_else(|| Error::not_found(format!("Memory with ID {memory_id} not found")))
}

/// Edits a memory; from then on it is the user's own, and needs no source.
pub async fn edit(app: &App, scope: &Scope, memory_id: MemoryId, edit: Edit) -> Result<Memory, Error> {
    let memory = get(app, scope, memory_id).await?;
    if memory.valid_to.is_some() {
        let detail = format!("Memory {memory_id} has been replaced by another; change that one");
        return Err(Error::conflict(detail));
    }
    let (tenant, user, at) = (scope.tenant_id(), &memory.user_id, clock::now());
    let hash = edit.memory.as_deref().map(model::hash);
    let text_config = &app.settings.search.text_config;
    let mut tx = database::begin(&app.db).await?;
    store::lock_user(&mut tx, tenant, user).await?;
    store::edit(&mut tx, (tenant, user), memory_id, &edit, hash.as_deref(), text_config, at)
        .await
        .on_constraint("memories_once", || {
            Error::conflict("The user has another memory that says the same; delete one of the two")
        })?;
    let event = Recorded {
        tenant_id: tenant,
        user_id: user,
        memory_id,
        action: Action::Edit,
        memory: edit.memory.as_deref().unwrap_or(&memory.memory),
        topics: edit.topics.as_deref().unwrap_or(&memory.topics),
        source: None,
        at,
    };
    store::record(&mut tx, &event).await.on_constraint("memory_events_memory_exists", || {
        Error::not_found(format!("Memory with ID {memory_id} not found"))
    })?;
    tx.commit().await?;
    vectors::wake(app).await;
    get(app, scope, memory_id).await
}

/// The events of a memory and of those that it superseded, oldest first.
pub async fn history(app: &App, scope: &Scope, memory_id: MemoryId) -> Result<Vec<Event>, Error> {
    get(app, scope, memory_id).await?;
    Ok(store::history(&app.db, scope, memory_id).await?)
}

/// How many memories `MemoryUpdateCompleted` lists at most.
const MOST_TOLD: i64 = 1_000;

/// The memories of a user, oldest first, as `MemoryUpdateCompleted` lists them.
pub async fn known(app: &App, tenant: &TenantId, user: &UserId) -> Result<Vec<KnownMemory>, sqlx::Error> {
    let memories = store::with_input(&app.db, tenant, user, MOST_TOLD).await?;
    let known = memories.into_iter().map(|MemoryWithInput { memory, input }| KnownMemory {
        memory_id: memory.memory_id,
        memory: memory.memory,
        topics: memory.topics,
        created_at: memory.created_at,
        updated_at: memory.updated_at,
        input,
        user_id: memory.user_id,
        agent_id: memory.agent_id,
    });
    Ok(known.collect())
}

/// The users with memories, and how many each has.
pub async fn stats(app: &App, scope: &Scope, page: PageRequest) -> Result<Page<UserStats>, Error> {
    let started = Instant::now();
    let (users, total) = store::stats(&app.db, scope, page).await?;
    Ok(Page { data: users, meta: page.meta(total, started.elapsed()) })
}

/// Rows erased per statement.
const BATCH: i64 = 1_000;
/// Tenants looked at by one statement.
const TENANTS: i64 = 1_000;

/// Erases expired memories of all tenants; runs periodically.
pub async fn sweep(app: &App) -> Result<(), sqlx::Error> {
    let mut after = String::new();
    loop {
        let tenants = store::tenants_with_expiring(&app.db, &after, TENANTS).await?;
        let Some(last) = tenants.last() else { return Ok(()) };
        while store::delete_expired(&app.db, &tenants, BATCH).await? > 0 {}
        after.clone_from(last);
    }
}
