//! What surrounds every route: request ids, logs, CORS, limits, panics.

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
    cors::{Any as AnyOrigin, CorsLayer},
    request_id::{MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer},
    trace::TraceLayer,
};
use tracing::Span;
use uuid::Uuid;

use super::{Problem, problem};
use crate::{app::App, config::ServerSettings};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Puts the layers around `router`, the outermost first.
pub fn surround(router: Router, app: &Arc<App>) -> Router {
    let settings = &app.settings.server;
    let stack = ServiceBuilder::new()
        .map_request(drop_long_request_id)
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeUuidV7))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(request_span)
                .on_request(())
                .on_response(log_response)
                .on_failure(()),
        )
        .layer(cors(settings))
        .layer(CompressionLayer::new())
        .layer(middleware::from_fn(problem::render))
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(DefaultBodyLimit::max(settings.max_body_bytes));
    router.layer(stack)
}

/// For routes that run no model: an answer in time, or 504.
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

/// What is at no path, or not with this method.
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

fn drop_long_request_id<B>(mut request: axum::http::Request<B>) -> axum::http::Request<B> {
    if request.headers().get(REQUEST_ID).is_some_and(|id| id.len() > MAX_REQUEST_ID_BYTES) {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

/// Paths may hold a user's ids, so the span has them in a field, and the query, which may hold more, not at all.
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
        .allow_headers(AnyOrigin)
        .expose_headers([REQUEST_ID, header::ETAG, header::RETRY_AFTER]);
    if settings.cors_origins.iter().any(|origin| origin == "*") {
        return layer.allow_origin(AnyOrigin);
    }
    let origins: Vec<HeaderValue> = settings.cors_origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    layer.allow_origin(origins)
}

fn answer_panic(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    Problem::from(anyhow::anyhow!("a handler panicked: {message}")).into_response()
}
