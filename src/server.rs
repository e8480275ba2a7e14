//! Starting, serving, stopping.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{ServiceExt, extract::Request};
use tokio::net::TcpListener;
use tower::{Layer, util::MapRequestLayer};

use crate::{app::App, config::Settings, database::Database, http::router};

/// Serves until the process is told to stop; then lets running runs settle.
pub async fn serve(settings: Settings) -> anyhow::Result<()> {
    let database = Database::open(&settings.database).await?;
    database.migrate().await?;
    let app = App::build(settings, database.pool.clone()).await?;
    let bind = app.settings.server.bind;
    let listener = TcpListener::bind(bind).await.with_context(|| {
        format!("cannot listen on {bind}; choose another address with --bind, COLLOQUY_SERVER__BIND or server.bind")
    })?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "Colloquy serves on http://{address}, its documentation on http://{address}/docs.");
    serve_on(listener, app.clone(), stop_signal()).await?;
    app.tasks.shut_down(app.settings.server.shutdown_grace).await;
    database.close().await;
    tracing::info!("Colloquy has stopped.");
    Ok(())
}

/// Serves on `listener` until `stop` resolves and the open requests have been answered.
pub async fn serve_on(
    listener: TcpListener,
    app: Arc<App>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let grace = app.settings.server.shutdown_grace;
    let service = MapRequestLayer::new(trim_trailing_slash).layer(router::router(app));
    let service = ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(service);
    let stopped = tokio_util::sync::CancellationToken::new();
    let told = stopped.clone();
    let serving = axum::serve(listener, service).with_graceful_shutdown(async move {
        stop.await;
        tracing::info!("Stopping: no new requests; running runs may settle.");
        told.cancel();
    });
    tokio::select! {
        served = serving => served?,
        // A client that keeps its stream open must not keep the process.
        () = async { stopped.cancelled().await; tokio::time::sleep(grace).await } => {}
    }
    Ok(())
}

/// `/sessions/` means `/sessions`. The documentation keeps its slash: its page loads what stands beside it.
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
