//! Idempotency keys: a request that creates something is carried out once, however often it is sent.
//!
//! The first request with a key claims it. Its answer is stored for a day; a request that was refused has created
//! nothing, and releases its key. The transaction that creates something spends the key ([`Claimed::spend`]), so that
//! after a crash before the answer, a retry does not create it again.
//!
//! A run may be requested again while it is active, and streamed: its key refers to the run ([`claim_for_run`]), which
//! is then answered or followed once more.

mod store;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, SubsecRound, Utc};
use sqlx::PgConnection;

use crate::{
    app::App,
    clock,
    model::{Error, SessionId, TenantId, UserId},
};

/// A request without an answer for this long is considered abandoned: its process has died.
pub const ABANDONED_AFTER: Duration = Duration::from_mins(1);
pub const KEPT_FOR: Duration = Duration::from_hours(24);

/// One attempt at a request. Its time distinguishes it from later attempts with the same key.
#[derive(Debug)]
pub struct Attempt {
    tenant_id: TenantId,
    scope: String,
    key: String,
    fingerprint: Vec<u8>,
    /// To the microsecond, as PostgreSQL keeps it.
    at: DateTime<Utc>,
}

impl Attempt {
    /// A request of the tenant in `scope`, such as `POST /sessions`, whose content has this fingerprint.
    pub fn new(tenant_id: TenantId, scope: String, key: String, fingerprint: Vec<u8>) -> Self {
        Self { tenant_id, scope, key, fingerprint, at: clock::now().trunc_subsecs(6) }
    }
}

/// The key that was claimed for a request; `None` if the request has no key.
#[derive(Clone, Debug, Default)]
pub struct Claimed(Option<Arc<Attempt>>);

impl Claimed {
    pub fn of(attempt: Arc<Attempt>) -> Self {
        Self(Some(attempt))
    }

    /// Spends the key on a session, in the transaction that creates or extends it. Fails if another request has taken
    /// over the key, because this one took too long: then nothing may be committed.
    pub async fn spend(&self, connection: &mut PgConnection, session_id: &SessionId) -> Result<(), Error> {
        match &self.0 {
            Some(attempt) if !store::attach(connection, attempt, session_id, None).await? => Err(in_flight()),
            _ => Ok(()),
        }
    }
}

/// Claims the key for a run that is accepted in the same transaction. `false` if another request has it.
pub async fn claim_for_run(connection: &mut PgConnection, attempt: &Attempt) -> Result<bool, sqlx::Error> {
    store::claim(connection, attempt).await
}

/// Whether an earlier request has begun something under the key. Fails if that request was a different one.
pub async fn is_known(app: &App, attempt: &Attempt) -> Result<bool, Error> {
    let first = store::find(&app.db, attempt).await?.filter(|first| !first.has_expired);
    first.map_or(Ok(false), |first| first.check(attempt).map(|()| true))
}

/// Attaches the accepted run to the key that was claimed for it.
pub async fn attach_run(
    connection: &mut PgConnection,
    attempt: &Attempt,
    session_id: &SessionId,
    seq: i64,
) -> Result<(), sqlx::Error> {
    store::attach(connection, attempt, session_id, Some(seq)).await?;
    Ok(())
}

/// The run that the first request with this key started. Fails if that request was a different one.
pub async fn first_run(app: &App, attempt: &Attempt) -> Result<(SessionId, i64), Error> {
    let first = find_first(app, attempt).await?;
    let run = first.session_id.zip(first.run_seq).ok_or_else(in_flight)?;
    Ok((SessionId::stored(run.0), run.1))
}

/// Deletes the keys of requests about the user, with their answers. To be called before the user's sessions are
/// deleted. Returns the number of keys.
pub async fn forget_user(connection: &mut PgConnection, tenant: &TenantId, user: &UserId) -> Result<i64, sqlx::Error> {
    store::delete_of_user(connection, tenant, user).await
}

/// Deletes expired keys in batches. Returns their number.
pub async fn sweep(app: &App) -> anyhow::Result<u64> {
    const BATCH: i64 = 1_000;
    let mut removed = 0;
    loop {
        let batch = store::remove_old(&app.db, BATCH).await?;
        removed += batch;
        if batch < BATCH.unsigned_abs() {
            return Ok(removed);
        }
    }
}

async fn find_first(app: &App, attempt: &Attempt) -> Result<store::First, Error> {
    let first = store::find(&app.db, attempt).await?.ok_or_else(in_flight)?;
    first.check(attempt)?;
    Ok(first)
}

impl store::First {
    fn check(&self, attempt: &Attempt) -> Result<(), Error> {
        if self.fingerprint == attempt.fingerprint {
            return Ok(());
        }
        let detail = "was used for another request within the last day; give a new key, or send the same request";
        Err(Error::invalid("Idempotency-Key", detail))
    }
}

fn in_flight() -> Error {
    Error::conflict("The first request with this Idempotency-Key is still being carried out; ask again")
        .retry_after(Duration::from_secs(1))
}

/// The error if the first request has no stored answer: it is in flight, or its answer was lost.
fn without_answer(session_id: Option<String>, is_abandoned: bool) -> Error {
    match session_id {
        Some(session_id) if is_abandoned => Error::conflict(format!(
            "The first request with this Idempotency-Key was carried out, but its answer was lost with its server; \
             GET /sessions/{session_id} shows what it did"
        )),
        _ => in_flight(),
    }
}

/// The stored answer to the first request with a key.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    pub etag: Option<String>,
}

/// Claims the key for a request. `false` if another request has it.
pub async fn claim(app: &App, attempt: &Attempt) -> Result<bool, sqlx::Error> {
    store::claim(&mut *app.db.acquire().await?, attempt).await
}

/// The stored answer to the first request. Fails if that request was a different one, or has no answer.
pub async fn first_answer(app: &App, attempt: &Attempt) -> Result<Answer, Error> {
    let first = find_first(app, attempt).await?;
    let (status, body) =
        first.status.zip(first.body).ok_or_else(|| without_answer(first.session_id, first.is_abandoned))?;
    Ok(Answer { status: u16::try_from(status).unwrap_or(200), body, etag: first.etag })
}

/// Stores the answer to a request that succeeded.
pub async fn keep(app: &App, attempt: &Attempt, answer: &Answer) {
    if let Err(error) = store::keep(&app.db, attempt, answer.status, &answer.body, answer.etag.as_deref()).await {
        // The request itself is done and stored: only a repeated one gets no answer.
        tracing::warn!(%error, "An answer could not be kept under its Idempotency-Key.");
    }
}

/// Releases the key: the request has created nothing.
pub async fn release(app: &App, attempt: &Attempt) -> Result<(), sqlx::Error> {
    store::release(&app.db, attempt).await
}
