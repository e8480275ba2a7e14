//! Token usage of background work on sessions.

use sqlx::PgPool;

use super::Purpose;
use crate::model::{ModelUsage, SessionId};

/// Adds a call to the session's token usage. Does nothing if the session was deleted.
pub async fn add(
    db: &PgPool,
    session_id: &SessionId,
    purpose: Purpose,
    ModelUsage { model, usage }: &ModelUsage,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into session_usage as u (
            session_id, purpose, model_provider, model, input_tokens, output_tokens, total_tokens,
            reasoning_tokens, cache_read_tokens, cache_write_tokens
        )
        select session_id, $2, $3, $4, $5, $6, $7, $8, $9, $10
        from sessions
        where session_id = $1
        -- Waits for whoever deletes it.
        for key share
        on conflict (session_id, purpose, model_provider, model) do update set
            input_tokens = u.input_tokens + excluded.input_tokens,
            output_tokens = u.output_tokens + excluded.output_tokens,
            total_tokens = u.total_tokens + excluded.total_tokens,
            reasoning_tokens = u.reasoning_tokens + excluded.reasoning_tokens,
            cache_read_tokens = u.cache_read_tokens + excluded.cache_read_tokens,
            cache_write_tokens = u.cache_write_tokens + excluded.cache_write_tokens
        "#,
        session_id.as_str(),
        purpose as Purpose,
        model.provider,
        model.id,
        usage.input_tokens,
        usage.output_tokens,
        usage.total_tokens,
        usage.reasoning_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
    )
    .execute(db)
    .await?;
    Ok(())
}
