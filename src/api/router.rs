//! Every route, in one list.

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, middleware};
use utoipa::{OpenApi, openapi::OpenApi as Document};
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

use super::agentos::{agents, jobs, memories, runs, search, sessions, summaries, users};
use super::{contract, discovery, idempotency, layers, status};
use crate::app::App;

/// Body limit for imports with an `Idempotency-Key`, whose body is buffered. Imports are idempotent without a key too.
const MAX_IMPORT_UNDER_KEY: usize = 64 * 1024 * 1024;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Colloquy",
        description = "Runs AI agents over HTTP and gives them a memory, on PostgreSQL alone.\n\n\
            Errors are RFC 9457 problem documents whose `detail` says what to do. \
            The wire is that of AgentOS: its clients work unmodified.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "Runs", description = "Talk to an agent."),
        (name = "Sessions", description = "Conversations, and what is known about them."),
        (name = "Memories", description = "What is known of a user, found again when it matters."),
        (name = "Search", description = "What was said and what is remembered, found by a question."),
        (name = "Users", description = "All that is stored of one user."),
        (name = "Agents", description = "Who answers."),
        (name = "Service", description = "What this installation is and how it does."),
    )
)]
struct Contract;

/// Routes that call no model, with a request timeout. Paths are declared at the handlers; a handler's name is its
/// operation id.
fn quick_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Contract::openapi())
        // /agents
        .routes(routes!(agents::routes::list_agents))
        .routes(routes!(agents::routes::get_agent))
        .routes(routes!(runs::routes::get_run))
        .routes(routes!(runs::routes::cancel_run))
        // /sessions
        .routes(routes!(sessions::routes::list_sessions, sessions::routes::delete_sessions))
        .routes(routes!(
            sessions::routes::get_session,
            sessions::routes::update_session,
            sessions::routes::delete_session
        ))
        .routes(routes!(sessions::routes::rename_session))
        .routes(routes!(sessions::routes::list_session_runs))
        .routes(routes!(sessions::routes::list_session_run_previews))
        .routes(routes!(sessions::routes::get_session_run, sessions::routes::delete_session_run))
        .routes(routes!(sessions::routes::list_session_messages))
        .routes(routes!(sessions::routes::delete_session_message))
        .routes(routes!(sessions::routes::export_session))
        .routes(routes!(summaries::list_session_summaries))
        .routes(routes!(summaries::get_session_context))
        // /memories
        .routes(routes!(memories::routes::list_memories, memories::routes::delete_memories))
        .routes(routes!(memories::routes::get_memory, memories::routes::update_memory, memories::routes::delete_memory))
        .routes(routes!(memories::routes::get_memory_history))
        .routes(routes!(search::routes::search_memories))
        .routes(routes!(memories::routes::list_memory_topics))
        .routes(routes!(memories::routes::get_user_memory_stats))
        // /users
        .routes(routes!(users::delete_user))
        .routes(routes!(users::export_user))
        // /search
        .routes(routes!(search::routes::search))
        // the service itself
        .routes(routes!(discovery::get_root))
        .routes(routes!(discovery::get_info))
        .routes(routes!(discovery::get_config))
        .routes(routes!(discovery::list_models))
        .routes(routes!(jobs::list_jobs))
        .routes(routes!(jobs::retry_job))
        .routes(routes!(status::get_health))
        .routes(routes!(status::get_ready))
}

/// Routes that create something. With an `Idempotency-Key` a request is executed once.
fn creating_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        // /sessions
        .routes(routes!(sessions::routes::create_session))
        .routes(routes!(sessions::routes::fork_session))
        .routes(routes!(sessions::routes::fork_agent_session))
        .routes(routes!(sessions::append::append_messages))
        // /memories
        .routes(routes!(memories::routes::create_memory))
}

/// The creating route whose body may have any size. It has no request timeout, because its duration depends on that
/// size.
fn import_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        // /sessions
        .routes(routes!(sessions::routes::import_session))
}

/// Routes that wait for a model or a run. The timeouts of models and runs apply, not the request timeout.
fn run_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        // /memories
        .routes(routes!(memories::actions::extract_memories))
        .routes(routes!(memories::actions::optimize_memories))
        // /agents/{agent_id}/runs
        .routes(routes!(runs::routes::create_run, runs::routes::list_runs))
        .routes(routes!(runs::resuming::stream_run_events))
        .routes(routes!(runs::resuming::resume_run))
        .routes(routes!(runs::continuing::continue_run))
        // /sessions
        .routes(routes!(summaries::summarize_session))
}

/// The `OpenAPI` contract, served at `/openapi.json` and stored in `openapi/openapi.json`.
pub fn contract() -> Document {
    let routes = quick_routes().merge(creating_routes()).merge(import_routes()).merge(run_routes());
    contract::describe_forms(routes.into_openapi())
}

/// The whole HTTP service.
pub fn router(app: Arc<App>) -> Router {
    let creating = creating_routes().layer(middleware::from_fn_with_state(app.clone(), idempotency::once));
    let importing = import_routes()
        .layer(middleware::from_fn_with_state(app.clone(), idempotency::once))
        .layer(DefaultBodyLimit::max(MAX_IMPORT_UNDER_KEY));
    let limited = quick_routes().merge(creating).layer(middleware::from_fn_with_state(app.clone(), layers::limit_time));
    let (routes, document) = limited.merge(importing).merge(run_routes()).split_for_parts();
    let document = contract::describe_forms(document);
    let routes = routes
        .fallback(layers::answer_unknown_path)
        .method_not_allowed_fallback(layers::answer_unknown_method)
        .with_state(app.clone())
        .merge(SwaggerUi::new("/docs").url("/openapi.json", document));
    layers::surround(routes, &app)
}
