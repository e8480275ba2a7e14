//! Startup, serving and shutdown.

mod bodies;
mod connections;
mod pulse;
mod socket;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use axum::extract::Request;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::{Layer, util::MapRequestLayer};

use crate::{
    api::router,
    app::App,
    config::Settings,
    database::{self, Database},
    engine::supervision,
    jobs, memories, search, webhooks, worker,
};

/// How long clients may take to read the rest of their responses after all runs have ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves until the process gets a stop signal, then lets active runs settle.
pub async fn serve(settings: Settings) -> anyhow::Result<()> {
    let bind = settings.server.bind;
    let listener = TcpListener::bind(bind).await.with_context(|| {
        format!("cannot listen on {bind}; choose another address with --bind, COLLOQUY_SERVER__BIND or server.bind")
    })?;
    let (database, app) = start(settings).await?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "Colloquy serves on http://{address}, its documentation on http://{address}/docs.");
    serve_on(listener, app.clone(), stop_signal()).await?;
    supervision::end(&app).await;
    database.close().await;
    tracing::info!("Colloquy has stopped.");
    Ok(())
}

/// Does background work until the process gets a stop signal, then finishes what it has begun.
pub async fn work(settings: Settings) -> anyhow::Result<()> {
    let grace = settings.server.shutdown_grace;
    let (database, app) = start(settings).await?;
    tracing::info!("Colloquy works: it takes jobs and background runs, and serves nothing.");
    stop_signal().await;
    tracing::info!("Stopping: no new work; what has begun may end.");
    app.tasks.shut_down(grace).await;
    supervision::end(&app).await;
    database.close().await;
    tracing::info!("Colloquy has stopped.");
    Ok(())
}

/// Opens and migrates the database, and starts the application and its background work.
async fn start(settings: Settings) -> anyhow::Result<(Database, Arc<App>)> {
    let database = Database::open(&settings.database).await?;
    migrate(&database.pools.direct).await?;
    webhooks::check_secret(&settings.webhooks)?;
    let app = App::build(settings, database.pools.clone()).await?;
    search::vectors::start(&app).await?;
    memories::extraction::sweep(&app).await?;
    supervision::start(&app, database.is_private()).await?;
    worker::spawn(&app);
    Ok((database, app))
}

/// Migrates the schemas of Colloquy and of its job queue. Processes that start together wait for each other.
pub async fn migrate(db: &PgPool) -> anyhow::Result<()> {
    database::migrate(db, jobs::migrate).await
}

/// Serves on `listener` until `stop` resolves. Then accepts no new requests, and returns when active runs have settled,
/// at most `server.shutdown_grace` and a few seconds later.
pub async fn serve_on(
    listener: TcpListener,
    app: Arc<App>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let service = MapRequestLayer::new(trim_trailing_slash).layer(router::router(app.clone()));
    let (stopping, settled) = (CancellationToken::new(), CancellationToken::new());
    let telling = async {
        stop.await;
        tracing::info!("Stopping: no new requests; running runs may settle.");
        stopping.cancel();
    };
    let serving = async {
        tokio::select! {
            () = connections::serve(listener, service, &app.settings.server, &stopping) => {}
            // A client that keeps its connection open must not delay the shutdown.
            () = async { settled.cancelled().await; tokio::time::sleep(LAST_WORDS).await } => {}
        }
    };
    let settling = async {
        stopping.cancelled().await;
        app.tasks.shut_down(app.settings.server.shutdown_grace).await;
        settled.cancel();
    };
    tokio::join!(telling, serving, settling);
    Ok(())
}

/// Treats `/sessions/` as `/sessions`. `/docs/` keeps its slash, because its page loads files by relative paths.
fn trim_trailing_slash(mut request: Request) -> Request {
    let path = request.uri().path();
    if path.len() < 2 || !path.ends_with('/') || path == "/docs/" {
        return request;
    }
    let trimmed = format!("/{}", path.trim_matches('/'));
    let path_and_query = match request.uri().query() {
        Some(query) => format!("{trimmed}?{query}"),
        None => trimmed,
    };
    let mut parts = request.uri().clone().into_parts();
    if let Ok(path_and_query) = path_and_query.parse() {
        parts.path_and_query = Some(path_and_query);
        if let Ok(uri) = axum::http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// Ctrl-C, or SIGTERM from a supervisor.
async fn stop_signal() {
    #[cfg(unix)]
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
