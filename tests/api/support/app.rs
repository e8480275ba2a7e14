//! The same application as `main` builds, on a free port.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use colloquy::testing::{
    app::App,
    config::{AgentSettings, ModelSettings, Provider, Settings},
    engine::supervision,
    http_client, server,
};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};
use tokio_util::sync::CancellationToken;

use super::{Answer, TestDatabase, scripted_model::ScriptedModel, test_database};

/// A running Colloquy with one agent, `assistant`, whose model is scripted.
pub(crate) struct TestApp {
    pub(crate) app: Arc<App>,
    pub(crate) model: ScriptedModel,
    pub(crate) client: Client,
    pub(crate) base_url: String,
    db: PgPool,
    stop: CancellationToken,
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With the agent's settings changed.
    pub(crate) async fn with_agent(change: impl FnOnce(&mut AgentSettings)) -> Self {
        Self::with(|settings| change(&mut settings.agents[0])).await
    }

    /// With any settings changed.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::on(test_database().await, change).await
    }

    /// On a database that the test has made.
    pub(crate) async fn on(database: TestDatabase, change: impl FnOnce(&mut Settings)) -> Self {
        // A test that fails shows what the server had to say.
        let _ = tracing_subscriber::fmt().with_test_writer().with_env_filter("warn").try_init();
        let model = ScriptedModel::start().await;
        let mut settings = Settings {
            agents: vec![AgentSettings {
                id: "assistant".into(),
                name: Some("Assistant".into()),
                description: Some("A helpful assistant.".into()),
                ..AgentSettings::default()
            }],
            models: BTreeMap::from([("fast".to_owned(), scripted(&model))]),
            ..Settings::default()
        };
        settings.jobs.workers = 0;
        settings.database.max_connections = 8;
        settings.database.acquire_timeout = Duration::from_secs(2);
        change(&mut settings);
        let own = database.pool();
        let db = PgPoolOptions::new()
            .max_connections(settings.database.max_connections)
            .acquire_timeout(settings.database.acquire_timeout)
            .connect_with(database.options)
            .await
            .expect("the test database answers");
        let app = App::build(settings, db).await.expect("the application builds");
        supervision::start(&app, false).await.expect("runs are looked after");
        Self::serve(app, model, own).await
    }

    async fn serve(app: Arc<App>, model: ScriptedModel, db: PgPool) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free loopback port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let stop = CancellationToken::new();
        let (served, stopped) = (app.clone(), stop.clone());
        #[expect(clippy::disallowed_methods, reason = "the server ends with the test's runtime")]
        tokio::spawn(async move { server::serve_on(listener, served, stopped.cancelled_owned()).await });
        Self {
            app,
            model,
            client: http_client::builder().build().expect("a client"),
            base_url: format!("http://{address}"),
            db,
            stop,
        }
    }

    /// For what the test looks at and changes by itself; the server has another pool, `app.db`.
    pub(crate) fn db(&self) -> &PgPool {
        &self.db
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base_url))
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::read(request.send().await.expect("the server answers")).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(&body)).await
    }

    /// Posts a form, as the existing clients do.
    pub(crate) async fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = serde_urlencoded::to_string(fields).expect("a form");
        let form = "application/x-www-form-urlencoded";
        self.send(self.request(Method::POST, path).header("content-type", form).body(body)).await
    }

    /// Posts an export to `/sessions/import`.
    pub(crate) async fn import(&self, lines: &str) -> Answer {
        let request = self.request(Method::POST, "/sessions/import").header("content-type", "application/x-ndjson");
        self.send(request.body(lines.to_owned())).await
    }

    /// Runs the assistant: `POST /agents/assistant/runs`.
    pub(crate) async fn run(&self, body: Value) -> Answer {
        self.post("/agents/assistant/runs", body).await
    }

    /// Says `message` on a session and expects an answer.
    pub(crate) async fn say(&self, session_id: &str, message: &str) -> Value {
        let answer = self.run(serde_json::json!({ "message": message, "session_id": session_id })).await;
        let run = answer.expect(200);
        assert_eq!(run["status"], "COMPLETED", "{run}");
        run
    }

    /// Does the background work that is due.
    pub(crate) async fn do_jobs(&self) {
        colloquy::testing::worker::run_due(&self.app).await.expect("the jobs run");
    }

    /// How many jobs the queue itself has: whoever asks `/jobs` has what is missing queued first.
    pub(crate) async fn count_jobs(&self) -> i64 {
        sqlx::query_scalar("select count(*) from graphile_worker._private_jobs").fetch_one(self.db()).await.unwrap()
    }

    /// Stores from now on nothing for the decoy: for tests that store very much.
    pub(crate) async fn without_decoy(self) -> Self {
        self.execute("select decoy.leave()").await;
        self
    }

    /// Runs a statement that the test itself has written.
    pub(crate) async fn execute(&self, statement: impl Into<String>) {
        sqlx::raw_sql(AssertSqlSafe(statement.into())).execute(self.db()).await.expect("the statement runs");
    }

    /// Stops as `main` does: no new requests, then running runs settle.
    pub(crate) async fn shut_down(&self) {
        self.stop.cancel();
        self.app.tasks.shut_down(self.app.settings.server.shutdown_grace).await;
    }
}

/// A model that calls the scripted server and does not repeat a failed call.
pub(crate) fn scripted(model: &ScriptedModel) -> ModelSettings {
    ModelSettings {
        base_url: Some(model.base_url()),
        api_key_env: Some("COLLOQUY_TEST_KEY".into()),
        max_retries: 0,
        timeout: Duration::from_secs(20),
        ..ModelSettings::new(Provider::OpenAi, "scripted")
    }
}
