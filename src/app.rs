//! The state that all rooms share. Built once, by the server and by every test.

use std::{
    any::{Any, TypeId},
    collections::{BTreeMap, HashMap},
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
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
    database::{self, Lanes, Namespace, Pools},
    llm::{self, Embedder, Models},
};

/// A running Colloquy, without its HTTP server.
#[derive(Debug)]
pub struct App {
    pub settings: Settings,
    pub db: PgPool,
    /// For work that needs a database session, see `database::Pools`.
    pub direct: PgPool,
    /// For the statements that every run has.
    pub lanes: Lanes,
    /// The names of this installation in the database.
    pub namespace: Namespace,
    pub models: Models,
    pub agents: Agents,
    /// Computes embeddings. `None`: searches use keywords only.
    pub embedder: Option<Embedder>,
    /// Whether the job workers of this process are running.
    pub workers_are_up: AtomicBool,
    rooms: Rooms,
    pub tasks: Tasks,
    pub started_at: DateTime<Utc>,
}

impl App {
    /// Combines settings, models and a migrated database. Detects a model if none is configured.
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
        Ok(Arc::new(Self {
            settings,
            lanes: Lanes::new(&db),
            db,
            direct,
            namespace,
            models,
            agents,
            embedder,
            workers_are_up: AtomicBool::new(false),
            rooms: Rooms::default(),
            tasks: Tasks::default(),
            started_at: clock::now(),
        }))
    }

    /// The process-wide state of a room, created on first use. This way `App` does not depend on the rooms that build
    /// on it.
    pub fn room<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        self.room_with(T::default)
    }

    /// Like [`App::room`], for a type without a default.
    pub fn room_with<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        self.rooms.get(make)
    }
}

/// One value per type.
#[derive(Default)]
struct Rooms(Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Rooms {
    fn get<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = rooms.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(make())).clone();
        room.downcast().unwrap_or_else(|_| unreachable!("a value is kept under its own type"))
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rooms")
    }
}

fn announce(agent: &crate::agents::Agent) {
    let id = &agent.settings.id;
    tracing::info!(agent = id, model = agent.model_info.id, provider = agent.model_info.provider, "Agent is ready.");
}

/// Work that outlives the request that began it, and that a shutdown waits for.
#[derive(Debug, Default)]
pub struct Tasks {
    /// Runs, and other work that has to end by itself.
    tracker: TaskTracker,
    /// Work that continues as long as there are runs, such as heartbeats.
    services: TaskTracker,
    stopping: CancellationToken,
    stop: CancellationToken,
    settled: CancellationToken,
}

impl Tasks {
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        // What is spawned is moved several times, whatever its size.
        self.tracker.spawn(Box::pin(work))
    }

    /// Spawns work that continues until all other work has ended; then it is cancelled.
    pub fn spawn_service(&self, work: impl Future<Output = ()> + Send + 'static) {
        let settled = self.settled.clone();
        self.services.spawn(async move {
            let _ = settled.run_until_cancelled(work).await;
        });
    }

    /// Cancelled when the process is told to stop: no new work should begin.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Cancelled when running work has to end.
    pub fn stop_token(&self) -> &CancellationToken {
        &self.stop
    }

    /// Prevents new work, and waits up to `grace` for running work to end by itself. Then tells it to stop, and waits a
    /// few seconds for that.
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
