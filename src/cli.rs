//! The `colloquy` command.

use std::{
    io::{ErrorKind, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use crate::{
    api::router,
    config::{CommandLine, Settings},
    database::{Database, check_text_config},
    http_client,
    search::{self, Reindexed},
    server, telemetry,
};
use clap::{Args, Parser, Subcommand};

/// Runs AI agents over HTTP and gives them a memory, on PostgreSQL alone.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the HTTP API and do background work (the default).
    Serve,
    /// Do background work only (jobs and background runs), without the HTTP API.
    Work,
    /// Migrate the database schema and exit.
    Migrate,
    /// Rebuild the full-text search data of all messages and memories and exit. Needed after a change of
    /// `search.text_config`, or if an update requires it. Servers may keep running.
    Reindex,
    /// Print the `OpenAPI` document and exit.
    Openapi,
    /// Check whether a running server is alive; exits with 0 if it is, with 1 if not.
    Health {
        #[arg(long, default_value = "http://127.0.0.1:7777")]
        url: String,
    },
}

#[derive(Args, Debug)]
struct Options {
    /// The settings file. Default: `colloquy.toml`, if it exists.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address and port to listen on.
    #[arg(long, global = true, value_name = "ADDRESS")]
    bind: Option<SocketAddr>,
    /// The data directory of the embedded PostgreSQL.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

const HEALTH_PATIENCE: Duration = Duration::from_secs(3);

/// Runs the command given on the command line.
#[tokio::main]
pub async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("colloquy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let Options { config: file, bind, data_dir } = cli.options;
    let overrides = CommandLine { file, bind, data_dir };
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            telemetry::start();
            server::serve(Settings::load(overrides)?).await
        }
        Command::Work => {
            telemetry::start();
            server::work(Settings::load(overrides)?).await
        }
        Command::Migrate => migrate(overrides, async |_, _| Ok(())).await,
        Command::Reindex => migrate(overrides, reindex).await,
        Command::Openapi => match writeln!(std::io::stdout(), "{}", router::contract().to_pretty_json()?) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        },
        Command::Health { url } => {
            let client = http_client::builder().no_proxy().timeout(HEALTH_PATIENCE).build()?;
            let response = client.get(format!("{}/health", url.trim_end_matches('/'))).send().await?;
            response.error_for_status()?;
            Ok(())
        }
    }
}

/// Migrates the database, then runs `then` on it.
async fn migrate(
    overrides: CommandLine,
    then: impl AsyncFnOnce(&Database, &Settings) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    telemetry::start();
    let settings = Settings::load(overrides)?;
    let database = Database::open(&settings.database).await?;
    let done = async {
        server::migrate(&database.pools.direct).await?;
        then(&database, &settings).await
    };
    let done = done.await;
    database.close().await;
    done
}

async fn reindex(database: &Database, settings: &Settings) -> anyhow::Result<()> {
    let text_config = &settings.search.text_config;
    check_text_config(&database.pools.pool, text_config).await?;
    let Reindexed { messages, memories } = search::reindex(&database.pools.pool, text_config).await?;
    tracing::info!(text_config, messages, memories, "All have their words anew.");
    Ok(())
}
