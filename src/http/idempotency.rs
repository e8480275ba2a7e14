//! `Idempotency-Key`: a POST that creates is carried out once, however often it is sent.
//!
//! [`once`] is a layer for routes whose success is worth keeping: put them into `creating_routes` of the router, and
//! [`IdempotencyKey`] among the handler's `params`. The first request with a key is carried out by a task of the
//! process, so that a client which goes away finds its answer when it asks again. What was answered is kept for a day;
//! a request that was refused created nothing, and gives its key back. The transaction that creates spends the key
//! ([`Claimed::spend`]), so that a process which dies before it has answered does not let the next try create again.
//!
//! A run may be asked for while it is still going on, and streamed: its key names the run ([`claim_for_run`]), which is
//! then answered or followed once more.
//!
//! Keys are told apart by the path. The query and the body, and with them the user, are in the fingerprint: whoever is
//! shown an answer again has sent exactly what was answered.

mod store;

use std::{convert::Infallible, sync::Arc, time::Duration};

use anyhow::anyhow;
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, SubsecRound, Utc};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use tokio::sync::oneshot;
use tracing::Instrument;
use utoipa::IntoParams;

use super::{Problem, extract::too_large};
use crate::{app::App, auth::UserId, clock, sessions::SessionId};

pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const MAX_KEY_BYTES: usize = 255;

/// A request that has not been answered for so long has died with its process.
pub const ABANDONED_AFTER: Duration = Duration::from_mins(1);
pub const KEPT_FOR: Duration = Duration::from_hours(24);

/// The header, for the contract.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IdempotencyKey {
    /// Any text of your own, such as a UUID. The same request with the same key is carried out once: within a day it is
    /// answered again with what it was answered first, and `Idempotent-Replayed: true`.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    #[expect(dead_code, reason = "read by the layer")]
    idempotency_key: Option<String>,
}

/// One try at a request. Its time tells it from later tries under the same key.
#[derive(Debug)]
pub struct Attempt {
    scope: String,
    key: String,
    fingerprint: Vec<u8>,
    /// To the microsecond, as PostgreSQL keeps it.
    at: DateTime<Utc>,
}

impl Attempt {
    /// A POST to `path` that means `content`; `None` without the header.
    pub fn new(path: &str, headers: &HeaderMap, content: &[u8]) -> Result<Option<Self>, Problem> {
        let attempt = key_of(headers)?.map(|key| Self {
            scope: format!("POST {path}"),
            key,
            fingerprint: fingerprint("", headers, content),
            at: clock::now().trunc_subsecs(6),
        });
        Ok(attempt)
    }
}

/// The key that [`once`] has claimed for a request; none, if the request has none.
#[derive(Clone, Debug, Default)]
pub struct Claimed(Option<Arc<Attempt>>);

impl<S: Sync> FromRequestParts<S> for Claimed {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

impl Claimed {
    /// Spends the key on a session, in the transaction that creates or extends it. Refused when another request has
    /// taken the key since, because this one took too long: then nothing may be committed.
    pub async fn spend(&self, connection: &mut PgConnection, session_id: &SessionId) -> Result<(), Problem> {
        match &self.0 {
            Some(attempt) if !store::attach(connection, attempt, session_id, None).await? => Err(in_flight()),
            _ => Ok(()),
        }
    }
}

/// Takes the key for a run that is accepted in the same transaction. `false`: it is taken by another.
pub async fn claim_for_run(connection: &mut PgConnection, attempt: &Attempt) -> Result<bool, sqlx::Error> {
    store::claim(connection, attempt).await
}

/// Whether another request, or this one before, has begun something under the key. A request that differs is refused.
pub async fn is_known(app: &App, attempt: &Attempt) -> Result<bool, Problem> {
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

/// The run that the first request with this key began, if this request is the same.
pub async fn first_run(app: &App, attempt: &Attempt) -> Result<(SessionId, i64), Problem> {
    let first = find_first(app, attempt).await?;
    let run = first.session_id.zip(first.run_seq).ok_or_else(in_flight)?;
    Ok((SessionId::stored(run.0), run.1))
}

/// Forgets what was answered to requests about the user; call it while their sessions are there. Answers how many.
pub async fn forget_user(connection: &mut PgConnection, user: &UserId) -> Result<i64, sqlx::Error> {
    store::delete_of_user(connection, user).await
}

/// Carries out a POST with an `Idempotency-Key` once. Requests without the header, and other methods, pass.
pub async fn once(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response, Problem> {
    let key = if request.method() == Method::POST { key_of(request.headers())? } else { None };
    let Some(key) = key else { return Ok(next.run(request).await) };
    let (mut parts, body) = request.into_parts();
    let scope = format!("{} {}", parts.method, parts.uri.path());
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let extensions = parts.extensions.clone();
    let mut limited = Request::new(body);
    *limited.extensions_mut() = extensions;
    let body = Bytes::from_request(limited, &()).await.map_err(|error| match too_large(&error) {
        problem if problem.status() == StatusCode::PAYLOAD_TOO_LARGE && parts.uri.path() == "/sessions/import" => {
            problem.saying(
                "Under an Idempotency-Key an import has at most 64 MiB; send it without one: it may be repeated",
            )
        }
        problem => problem,
    })?;
    let attempt = Arc::new(Attempt {
        scope,
        key,
        fingerprint: fingerprint(&query, &parts.headers, &body),
        at: clock::now().trunc_subsecs(6),
    });
    let is_first = store::claim(&mut *app.db.acquire().await?, &attempt).await?;
    if !is_first {
        return repeat(&app, &attempt).await;
    }
    parts.extensions.insert(Claimed(Some(attempt.clone())));
    let request = Request::from_parts(parts, Body::from(body));
    let (tell, told) = oneshot::channel();
    let keeper = app.clone();
    let work = async move {
        let response = next.run(request).await;
        // Nobody may be waiting any more.
        drop(tell.send(keep(&keeper, &attempt, response).await));
    };
    app.tasks.spawn(work.in_current_span());
    told.await.map_err(|_| anyhow!("a request with an Idempotency-Key panicked"))?
}

/// Removes the keys that have been kept long enough, some at a time. Answers how many.
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

fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let refused = |reason: &str| Problem::invalid("Idempotency-Key", reason);
    let mut given = headers.get_all(KEY).iter();
    let Some(key) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(refused("was given more than once; give one key"));
    }
    let is_visible = |byte: &u8| byte.is_ascii_graphic();
    match key.as_bytes() {
        bytes if bytes.len() > MAX_KEY_BYTES => Err(refused("is longer than 255 bytes; give a shorter one")),
        [] => Err(refused("is empty; give a text such as a UUID, or leave the header out")),
        bytes if bytes.iter().all(is_visible) => Ok(Some(String::from_utf8_lossy(bytes).into_owned())),
        _ => Err(refused("has a space or a character outside of ASCII; give a text such as a UUID")),
    }
}

fn fingerprint(query: &str, headers: &HeaderMap, body: &[u8]) -> Vec<u8> {
    let media_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let mut hash = Sha256::new();
    for part in [query.as_bytes(), media_type, body] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().to_vec()
}

async fn find_first(app: &App, attempt: &Attempt) -> Result<store::First, Problem> {
    let first = store::find(&app.db, attempt).await?.ok_or_else(in_flight)?;
    first.check(attempt)?;
    Ok(first)
}

impl store::First {
    fn check(&self, attempt: &Attempt) -> Result<(), Problem> {
        if self.fingerprint == attempt.fingerprint {
            return Ok(());
        }
        let detail = "was used for another request within the last day; give a new key, or send the same request";
        Err(Problem::invalid("Idempotency-Key", detail))
    }
}

fn in_flight() -> Problem {
    Problem::conflict("The first request with this Idempotency-Key is still being carried out; ask again")
        .retry_after(Duration::from_secs(1))
}

/// What to tell when the first request has not been answered, or its answer was lost.
fn without_answer(session_id: Option<String>, is_abandoned: bool) -> Problem {
    match session_id {
        Some(session_id) if is_abandoned => Problem::conflict(format!(
            "The first request with this Idempotency-Key was carried out, but its answer was lost with its server; \
             GET /sessions/{session_id} shows what it did"
        )),
        _ => in_flight(),
    }
}

/// The answer of the first request, if it is the same and has been answered.
async fn repeat(app: &App, attempt: &Attempt) -> Result<Response, Problem> {
    let first = find_first(app, attempt).await?;
    let (status, body) =
        first.status.zip(first.body).ok_or_else(|| without_answer(first.session_id, first.is_abandoned))?;
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = (status.unwrap_or(StatusCode::OK), body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    if let Some(etag) = first.etag.and_then(|etag| HeaderValue::try_from(etag).ok()) {
        headers.insert(header::ETAG, etag);
    }
    Ok(response)
}

/// Keeps a success under the key; whatever else it was, the key is free again.
async fn keep(app: &App, attempt: &Attempt, response: Response) -> Result<Response, Problem> {
    if !response.status().is_success() {
        store::release(&app.db, attempt).await?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.map_err(|error| anyhow!("an answer broke off: {error}"))?;
    let text = std::str::from_utf8(&body).map_err(|_| anyhow!("an answer is no text"))?;
    let etag = parts.headers.get(header::ETAG).and_then(|etag| etag.to_str().ok());
    if let Err(error) = store::keep(&app.db, attempt, parts.status.as_u16(), text, etag).await {
        // What was asked for is done and stored; only a repetition would not know.
        tracing::warn!(%error, "An answer could not be kept under its Idempotency-Key.");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}
