//! The floor: the least that a durable run can cost on this stack.
//!
//! For each request it stores the message with an asynchronous commit, calls the model once, and stores the answer with
//! a durable commit. No history, no rules, no errors worth the name: what the server takes beyond this is its own.
//! To be a fair measure it is made as quick as it gets in few lines: pooled connections without a ping, statements
//! prepared once, one round trip per write, kept-alive connections, the server's allocator.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use clap::Parser;
use colloquy::testing::http_client;
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As many as the server takes by default.
const POOL_SIZE: u32 = 16;

const CREATE_TABLES: &str = "
    CREATE SCHEMA IF NOT EXISTS floor;
    CREATE TABLE IF NOT EXISTS floor.messages (
        run_id uuid PRIMARY KEY,
        session_id text NOT NULL,
        content text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE IF NOT EXISTS floor.answers (
        run_id uuid PRIMARY KEY,
        content text NOT NULL,
        total_tokens bigint NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    );
";

/// One statement is one transaction, so the setting holds for exactly this commit.
const INSERT_MESSAGE: &str = "
    WITH commit AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
    INSERT INTO floor.messages (run_id, session_id, content) SELECT $1, $2, $3 FROM commit
";

const INSERT_ANSWER: &str = "INSERT INTO floor.answers (run_id, content, total_tokens) VALUES ($1, $2, $3)";

#[derive(Parser)]
#[command(about = "The floor of the load bench: one insert, one model call, one durable insert per request.")]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9098")]
    bind: SocketAddr,
    /// The PostgreSQL to write to; the tables are made in a schema `floor`.
    #[arg(long, env = "DATABASE_URL")]
    database_url: String,
    /// The model server.
    #[arg(long, default_value = "http://127.0.0.1:9099/v1")]
    model_url: String,
}

struct Floor {
    pool: PgPool,
    http: reqwest::Client,
    completions_url: String,
}

#[derive(Deserialize)]
struct RunRequest {
    message: String,
    session_id: String,
}

#[derive(Serialize)]
struct RunAnswer {
    run_id: Uuid,
    session_id: String,
    content: String,
    status: &'static str,
}

#[derive(Serialize)]
struct ChatRequest<'a> {
    model: &'a str,
    messages: [ChatMessage<'a>; 2],
}

#[derive(Serialize)]
struct ChatMessage<'a> {
    role: &'a str,
    content: &'a str,
}

#[derive(Deserialize)]
struct ChatAnswer {
    choices: Vec<Choice>,
    usage: Usage,
}

#[derive(Deserialize)]
struct Choice {
    message: ChoiceMessage,
}

#[derive(Deserialize)]
struct ChoiceMessage {
    content: String,
}

#[derive(Deserialize)]
struct Usage {
    total_tokens: i64,
}

/// Any failure: a 500, which the bench counts.
struct Failure(anyhow::Error);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let pool = PgPoolOptions::new()
        .max_connections(POOL_SIZE)
        .test_before_acquire(false)
        .connect(&options.database_url)
        .await
        .context("the floor could not connect to PostgreSQL")?;
    sqlx::raw_sql(CREATE_TABLES).execute(&pool).await?;
    let floor = Floor {
        pool,
        http: http_client::builder().build()?,
        completions_url: format!("{}/chat/completions", options.model_url.trim_end_matches('/')),
    };
    let router = Router::new()
        .route("/ready", get(StatusCode::OK))
        .route("/run", post(create_run))
        // The server's own path, so that the floor can stand in for it when the bench itself is tried.
        .route("/agents/{agent_id}/runs", post(create_run))
        .with_state(Arc::new(floor));
    let listener = tokio::net::TcpListener::bind(options.bind).await?.tap_io(|connection| {
        connection.set_nodelay(true).ok();
    });
    axum::serve(listener, router).await?;
    Ok(())
}

async fn create_run(
    State(floor): State<Arc<Floor>>,
    Json(request): Json<RunRequest>,
) -> Result<Json<RunAnswer>, Failure> {
    let run_id = Uuid::now_v7();
    sqlx::query(INSERT_MESSAGE)
        .bind(run_id)
        .bind(&request.session_id)
        .bind(&request.message)
        .execute(&floor.pool)
        .await?;
    let (content, total_tokens) = floor.call_model(&request.message).await?;
    sqlx::query(INSERT_ANSWER).bind(run_id).bind(&content).bind(total_tokens).execute(&floor.pool).await?;
    Ok(Json(RunAnswer { run_id, session_id: request.session_id, content, status: "COMPLETED" }))
}

impl Floor {
    async fn call_model(&self, message: &str) -> anyhow::Result<(String, i64)> {
        let request = ChatRequest {
            model: "gpt-4o-mini",
            messages: [
                ChatMessage { role: "system", content: "You are a helpful assistant." },
                ChatMessage { role: "user", content: message },
            ],
        };
        let response = self.http.post(&self.completions_url).json(&request).send().await?.error_for_status()?;
        let answer: ChatAnswer = response.json().await?;
        let choice = answer.choices.into_iter().next().context("the model server sent no choice")?;
        Ok((choice.message.content, answer.usage.total_tokens))
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        eprintln!("run failed: {:#}", self.0);
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
