//! Databases as others run them: their encodings, settings, schemas and clocks.

mod clocks;
mod older;
mod refusals;
mod schemas;
mod settings;

use std::time::Duration;

use crate::support::server::{self, Server};

const PATIENCE: Duration = Duration::from_secs(20);

/// `colloquy serve` on this database, without jobs unless the environment says otherwise.
async fn serve(url: &str, environment: &[(&str, &str)]) -> Server {
    let mut command = server::command(&["serve"]);
    command.env("DATABASE_URL", url).env("COLLOQUY_JOBS__WORKERS", "0").envs(environment.iter().copied());
    tokio::task::spawn_blocking(move || Server::start(command)).await.expect("it starts")
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}
