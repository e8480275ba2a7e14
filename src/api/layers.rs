//! The middleware stack around every route: request ids, logs, problem documents, access checks, CORS, limits, panics.

use std::{any::Any, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    cors::{AllowHeaders, AllowOrigin, Any as AnyOrigin, CorsLayer},
    request_id::{MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer},
    trace::TraceLayer,
};
use tracing::Span;
use uuid::Uuid;

use super::{Problem, access, gate, idempotency, pages, problem};
use crate::{app::App, config::ServerSettings};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Wraps `router` in the middleware stack, outermost layer first.
pub fn surround(router: Router, app: &Arc<App>) -> Router {
    let settings = &app.settings.server;
    let stack = ServiceBuilder::new()
        .map_request(drop_unfit_request_id)
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeUuidV7))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(request_span)
                .on_request(())
                .on_response(log_response)
                .on_failure(()),
        )
        .layer(middleware::from_fn_with_state(app.clone(), receive))
        .layer(cors(settings))
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(middleware::from_fn_with_state(app.clone(), refuse_large_body))
        .layer(DefaultBodyLimit::max(settings.max_body_bytes));
    router.layer(stack)
}

/// Refuses strangers, identifies the caller, writes the document of a problem, and protects pages. One layer, because
/// each one is cloned and boxed for every request.
async fn receive(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let is_page = pages::is_page(request.uri().path());
    let id = request.extensions().get::<RequestId>().cloned();
    let uri = request.uri().clone();
    let response = match gate::refuse_strangers(&request, &app.settings.server) {
        Ok(()) => {
            access::identify(&mut request);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    let mut response = problem::render(response, id.as_ref(), &uri);
    pages::protect(&mut response, is_page);
    response
}

/// Request timeout for routes that call no model: 504 after `server.request_timeout`.
pub async fn limit_time(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let limit = app.settings.server.request_timeout;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!("The request took longer than {} s; try again", limit.as_secs_f64()),
        )
        .into_response(),
    }
}

pub async fn answer_unknown_path(request: Request) -> Problem {
    Problem::not_found(format!("There is no {} {}; /docs lists every path", request.method(), request.uri().path()))
}

pub async fn answer_unknown_method(request: Request) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} does not take {}; /docs lists what it takes", request.uri().path(), request.method()),
    )
}

#[derive(Clone, Copy)]
struct MakeUuidV7;

impl MakeRequestId for MakeUuidV7 {
    fn make_request_id<B>(&mut self, _: &axum::http::Request<B>) -> Option<RequestId> {
        HeaderValue::from_str(&Uuid::now_v7().to_string()).ok().map(RequestId::new)
    }
}

fn drop_unfit_request_id<B>(mut request: axum::http::Request<B>) -> axum::http::Request<B> {
    if request.headers().get(REQUEST_ID).is_some_and(|id| !is_fit(id)) {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

fn is_fit(id: &HeaderValue) -> bool {
    (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.to_str().is_ok()
}

/// Refuses a body whose `Content-Length` exceeds the limit, before it is read.
async fn refuse_large_body(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let settings = &app.settings;
    let max = match request.uri().path() {
        "/sessions/import" => settings.sessions.max_import_bytes,
        _ => Some(settings.server.max_body_bytes as u64),
    };
    match length {
        Some(length) if max.is_some_and(|max| length > max) => super::extract::body_too_large().into_response(),
        _ => next.run(request).await,
    }
}

/// The path is a field, not part of the span's name: it may contain user ids. The query is not recorded: it may contain
/// more.
fn request_span<B>(request: &axum::http::Request<B>) -> Span {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    tracing::info_span!("request", request.id = id, method = %request.method(), path = request.uri().path())
}

fn log_response<B>(response: &axum::http::Response<B>, latency: Duration, _: &Span) {
    tracing::info!(
        status = response.status().as_u16(),
        ms = (latency.as_secs_f64() * 10_000.0).round() / 10.0,
        "Answered."
    );
}

fn cors(settings: &ServerSettings) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([REQUEST_ID, header::ETAG, header::RETRY_AFTER, idempotency::REPLAYED]);
    if settings.cors_origins.iter().any(|origin| origin == "*") {
        return layer.allow_origin(AnyOrigin);
    }
    let allowed = settings.cors_origins.clone();
    layer.allow_origin(AllowOrigin::predicate(move |origin, _| gate::is_allowed(origin, &allowed)))
}

fn answer_panic(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    Problem::from(anyhow::anyhow!("a handler panicked: {message}")).into_response()
}
