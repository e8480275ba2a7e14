//! What every room shares. Built once, by `main` and by every test.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    agents::Agents,
    clock,
    config::Settings,
    database::{self, Namespace, Pools},
    llm::{self, Embedder, Models},
    runs::{Registry, Webhooks},
    search,
    sessions::ask::Breakers,
};

/// A running Colloquy, without its HTTP server.
#[derive(Debug)]
pub struct App {
    pub settings: Settings,
    pub db: PgPool,
    /// For what needs a connection to itself.
    pub direct: PgPool,
    /// What this installation calls its own in the database.
    pub namespace: Namespace,
    pub models: Models,
    pub agents: Agents,
    /// Which models background work leaves alone for now.
    pub breakers: Breakers,
    /// What makes vectors of texts; absent: searches go by words.
    pub embedder: Option<Embedder>,
    /// The runs of this process.
    pub runs: Arc<Registry>,
    pub webhooks: Webhooks,
    /// Whether this process does jobs now.
    pub workers_are_up: AtomicBool,
    /// The sizes of large collections, for searches.
    pub search_statistics: search::Statistics,
    pub kept_vectors: search::KeptVectors,
    pub tasks: Tasks,
    pub started_at: DateTime<Utc>,
}

impl App {
    /// Joins settings, models and a migrated database. Finds a model when none is configured.
    pub async fn build(settings: Settings, pools: impl Into<Pools>) -> anyhow::Result<Arc<Self>> {
        let Pools { pool: db, direct } = pools.into();
        clock::follow(&db).await?;
        let namespace = Namespace::of(&db).await?;
        database::check_text_config(&db, &settings.search.text_config).await?;
        let http = llm::http_client()?;
        let declared = if settings.models.is_empty() {
            BTreeMap::from([llm::detect(&http).await])
        } else {
            settings.models.clone()
        };
        let default_model = declared.keys().next().cloned().unwrap_or_default();
        let models = Models::new(&declared, &http)?;
        let agents = Agents::new(&settings.agents, settings.history, &models, &default_model)?;
        for agent in agents.iter() {
            announce(agent);
        }
        let embedder = Embedder::new(&settings.search.embeddings, &http)?;
        let webhooks = Webhooks::new(&settings.webhooks)?;
        let breakers = Breakers::new(settings.jobs.model_pause);
        Ok(Arc::new(Self {
            settings,
            db,
            direct,
            namespace,
            models,
            agents,
            breakers,
            embedder,
            runs: Arc::default(),
            webhooks,
            workers_are_up: AtomicBool::new(false),
            search_statistics: search::Statistics::default(),
            kept_vectors: search::KeptVectors::default(),
            tasks: Tasks::default(),
            started_at: clock::now(),
        }))
    }
}

fn announce(agent: &crate::agents::Agent) {
    let id = &agent.settings.id;
    tracing::info!(agent = id, model = agent.model_info.id, provider = agent.model_info.provider, "Agent is ready.");
}

/// Work that outlives the request that began it, and that a shutdown waits for.
#[derive(Debug, Default)]
pub struct Tasks {
    /// Runs, and whatever else has to come to its own end.
    tracker: TaskTracker,
    /// What goes on as long as there are runs: signs of life, for one.
    services: TaskTracker,
    stopping: CancellationToken,
    stop: CancellationToken,
    settled: CancellationToken,
}

impl Tasks {
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.tracker.spawn(work)
    }

    /// Spawns what goes on until all other work has ended.
    pub fn spawn_service(&self, work: impl Future<Output = ()> + Send + 'static) {
        let settled = self.settled.clone();
        self.services.spawn(async move {
            let _ = settled.run_until_cancelled(work).await;
        });
    }

    /// Cancelled when the process is told to stop: what has not begun should not begin.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Cancelled when running work has to come to its end.
    pub fn stop_token(&self) -> &CancellationToken {
        &self.stop
    }

    /// Lets nothing new begin and waits for the work to end by itself for `grace`; then tells it to stop and waits for
    /// that.
    pub async fn shut_down(&self, grace: Duration) {
        self.stopping.cancel();
        self.tracker.close();
        if tokio::time::timeout(grace, self.tracker.wait()).await.is_err() {
            tracing::warn!(running = self.tracker.len(), "Stopping work that did not end within the shutdown grace.");
            self.stop.cancel();
            if tokio::time::timeout(Duration::from_secs(5), self.tracker.wait()).await.is_err() {
                tracing::error!(running = self.tracker.len(), "Some work could not be ended properly.");
            }
        }
        self.settled.cancel();
        self.services.close();
        self.services.wait().await;
    }
}
