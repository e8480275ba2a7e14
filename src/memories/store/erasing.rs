//! Statements that erase memories. Only [`forget`] needs the user's lock.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    database::tenants_with,
    model::{MemoryId, Scope, TenantId, UserId},
};

/// Up to `limit` tenants after this one with memories that expire some day.
pub async fn tenants_with_expiring(db: &PgPool, after: &str, limit: i64) -> Result<Vec<String>, sqlx::Error> {
    tenants_with!("memories", "expires_at is not null", after, limit).fetch_all(db).await
}

/// Erases up to `limit` expired memories of these tenants, with their history and the memories that they superseded.
/// Returns the number of expired ones.
pub async fn delete_expired(db: &PgPool, tenants: &[String], limit: i64) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query!(
        "
        delete from memories m
        using (
            select one.tenant_id, one.user_id, one.memory_id
            from unnest($1::text[]) as tenant (tenant_id) cross join lateral (
                select e.tenant_id, e.user_id, e.memory_id
                from memories e
                where e.tenant_id = tenant.tenant_id and e.expires_at <= now()
                limit $2
            ) one
            limit $2
        ) expired
        where m.tenant_id = expired.tenant_id and m.user_id = expired.user_id and m.memory_id = expired.memory_id
        ",
        tenants,
        limit,
    );
    Ok(deleted.execute(db).await?.rows_affected())
}

/// Erases a memory of the user, with its history and the memories that it superseded. `false` if it does not exist.
pub async fn forget(
    connection: &mut PgConnection,
    tenant: &TenantId,
    user: &UserId,
    memory_id: MemoryId,
) -> Result<bool, sqlx::Error> {
    let deleted = sqlx::query!(
        "delete from memories where tenant_id = $1 and user_id = $2 and memory_id = $3",
        tenant.as_str(),
        user.as_str(),
        memory_id as MemoryId,
    )
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected() > 0)
}

/// Erases memories, with their history and the memories that they superseded. Ids that do not exist, or are out of
/// scope, are ignored.
pub async fn delete(db: &PgPool, scope: &Scope, memory_ids: &[MemoryId]) -> Result<u64, sqlx::Error> {
    let ids: Vec<Uuid> = memory_ids.iter().map(|id| id.0).collect();
    let deleted = sqlx::query!(
        "delete from memories where tenant_id = $1 and memory_id = any($2) and ($3::text is null or user_id = $3)",
        scope.tenant(),
        &ids,
        scope.user(),
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}
