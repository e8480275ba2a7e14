//! `Idempotency-Key`: a POST that creates something is executed once, however often it is sent.
//!
//! [`once`] is a layer for routes whose successful answer is stored: add them to `creating_routes` in the router, and
//! [`IdempotencyKey`] to the handler's `params`. The first request with a key runs in a task of the process, so a
//! client that disconnects gets the answer when it retries.
//!
//! Keys are scoped by tenant and path. The fingerprint covers the query and the body, and with them the user, so an answer is
//! replayed only to an identical request.

use std::{convert::Infallible, sync::Arc};

use anyhow::anyhow;
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tracing::Instrument;
use utoipa::IntoParams;

use super::{Problem, extract::too_large};
use crate::{
    app::App,
    idempotency::{self, Answer, Attempt, Claimed},
    model::{Caller, TenantId},
};

pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const MAX_KEY_BYTES: usize = 255;

/// The header, for the `OpenAPI` contract.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IdempotencyKey {
    /// A key of your choice, such as a UUID. A request is executed once per key: for one day, the same request with the
    /// same key returns the first answer again, with `Idempotent-Replayed: true`.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    #[expect(dead_code, reason = "read by the layer")]
    idempotency_key: Option<String>,
}

/// The attempt of a POST to `path` with this content; `None` without the header.
pub fn attempt(tenant: &TenantId, path: &str, headers: &HeaderMap, content: &[u8]) -> Result<Option<Attempt>, Problem> {
    let attempt = key_of(headers)?.map(|key| {
        let fingerprint = fingerprint("", headers, content);
        Attempt::new(tenant.clone(), format!("POST {path}"), key, fingerprint)
    });
    Ok(attempt)
}

impl<S: Sync> FromRequestParts<S> for Claimed {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// Executes a POST with an `Idempotency-Key` once. Requests without the header, and other methods, pass through.
pub async fn once(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response, Problem> {
    let key = if request.method() == Method::POST { key_of(request.headers())? } else { None };
    let Some(key) = key else { return Ok(next.run(request).await) };
    let (mut parts, body) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, &()).await?;
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
    let fingerprint = fingerprint(&query, &parts.headers, &body);
    let attempt = Arc::new(Attempt::new(caller.tenant().clone(), scope, key, fingerprint));
    if !idempotency::claim(&app, &attempt).await? {
        return repeat(&app, &attempt).await;
    }
    parts.extensions.insert(Claimed::of(attempt.clone()));
    let request = Request::from_parts(parts, Body::from(body));
    let (tell, told) = oneshot::channel();
    let keeper = app.clone();
    let work = async move {
        let response = next.run(request).await;
        // The client may have disconnected.
        drop(tell.send(keep(&keeper, &attempt, response).await));
    };
    app.tasks.spawn(work.in_current_span());
    told.await.map_err(|_| anyhow!("a request with an Idempotency-Key panicked"))?
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

/// Replays the first request's answer, if the request is the same and has been answered.
async fn repeat(app: &App, attempt: &Attempt) -> Result<Response, Problem> {
    let first = idempotency::first_answer(app, attempt).await?;
    let status = StatusCode::from_u16(first.status).unwrap_or(StatusCode::OK);
    let mut response = (status, first.body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    if let Some(etag) = first.etag.and_then(|etag| HeaderValue::try_from(etag).ok()) {
        headers.insert(header::ETAG, etag);
    }
    Ok(response)
}

/// Stores a successful answer under the key. Any other answer releases the key.
async fn keep(app: &App, attempt: &Attempt, response: Response) -> Result<Response, Problem> {
    if !response.status().is_success() {
        idempotency::release(app, attempt).await?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.map_err(|error| anyhow!("an answer broke off: {error}"))?;
    let text = std::str::from_utf8(&body).map_err(|_| anyhow!("an answer is no text"))?;
    let etag = parts.headers.get(header::ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
    idempotency::keep(app, attempt, &Answer { status: parts.status.as_u16(), body: text.to_owned(), etag }).await;
    Ok(Response::from_parts(parts, Body::from(body)))
}
