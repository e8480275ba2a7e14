//! The `colloquy` command.

use std::{
    io::{ErrorKind, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use colloquy::{
    config::{Overrides, Settings},
    database::{Database, check_text_config},
    http::router,
    search::{self, Reindexed},
    server, telemetry,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// Serve (the default).
    Serve,
    /// Do background work without serving: jobs and background runs.
    Work,
    /// Bring the database schema up to date and exit.
    Migrate,
    /// Give all messages and memories their words anew, after `search.text_config` has changed or an update says so, and
    /// exit. Servers may run meanwhile.
    Reindex,
    /// Print the `OpenAPI` document and exit.
    Openapi,
    /// Ask a running server whether it is alive; exits with 0 or 1.
    Health {
        #[arg(long, default_value = "http://127.0.0.1:7777")]
        url: String,
    },
}

#[derive(Args, Debug)]
struct Options {
    /// The settings file; without it `colloquy.toml`, if there is one.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address to serve on.
    #[arg(long, global = true, value_name = "ADDRESS")]
    bind: Option<SocketAddr>,
    /// Where the embedded PostgreSQL keeps its data.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

const HEALTH_PATIENCE: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> ExitCode {
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
    let overrides = Overrides { file, bind, data_dir };
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
            let client = reqwest::Client::builder().no_proxy().timeout(HEALTH_PATIENCE).build()?;
            let response = client.get(format!("{}/health", url.trim_end_matches('/'))).send().await?;
            response.error_for_status()?;
            Ok(())
        }
    }
}

/// Brings the schema up to date, and does what is to be done on the database then.
async fn migrate(
    overrides: Overrides,
    then: impl AsyncFnOnce(&Database, &Settings) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    telemetry::start();
    let settings = Settings::load(overrides)?;
    let database = Database::open(&settings.database).await?;
    let done = async {
        database.migrate().await?;
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
