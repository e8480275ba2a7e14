//! Connections that go from one run to the next.
//!
//! The pool pings every connection that is given back to it: a second round trip for each statement, and a tenth of what
//! a run costs this process. The few statements of a run use lanes. A lane keeps its connection between them.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::Instant,
};

/// How many of the pool's connections are no lanes: work beside runs uses several at once.
const LEFT_TO_OTHERS: u32 = 6;
/// How long a connection is kept that nobody uses. Where runs come one after the other, that is long.
const KEPT: Duration = Duration::from_millis(100);
/// How long a connection may go from run to run. The pool replaces connections that have become old.
const LENT: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub struct Lanes {
    pool: PgPool,
    /// Closed if no connection is kept.
    places: Semaphore,
    /// The one that was used last is the last one.
    idle: Mutex<Vec<Idle>>,
    has_idle: Notify,
}

#[derive(Debug)]
struct Idle {
    lent: Lent,
    since: Instant,
}

/// A connection of the pool.
#[derive(Debug)]
struct Lent {
    connection: PoolConnection<Postgres>,
    since: Instant,
}

/// A connection for one statement. Dropping it gives it back to the pool.
#[derive(Debug)]
pub struct Lane<'a> {
    lent: Lent,
    /// `None` if there are no lanes, or none any more.
    place: Option<(&'a Lanes, SemaphorePermit<'a>)>,
}

impl Lanes {
    pub fn new(pool: &PgPool) -> Self {
        let lanes = pool.options().get_max_connections().saturating_sub(LEFT_TO_OTHERS);
        let places = Semaphore::new(lanes as usize);
        if lanes == 0 {
            places.close();
        }
        Self { pool: pool.clone(), places, idle: Mutex::default(), has_idle: Notify::new() }
    }

    /// A connection that was just used for another run, or else one of the pool's. Waits as long as the pool would.
    pub async fn acquire(&self) -> Result<Lane<'_>, sqlx::Error> {
        let waiting = tokio::time::timeout(self.pool.options().get_acquire_timeout(), self.places.acquire());
        let Ok(place) = waiting.await.map_err(|_| sqlx::Error::PoolTimedOut)? else {
            return Ok(Lane { lent: self.borrow().await?, place: None });
        };
        let idle = self.idle().pop().filter(Idle::is_fresh);
        let lent = match idle {
            Some(idle) => idle.lent,
            None => self.borrow().await?,
        };
        Ok(Lane { lent, place: Some((self, place)) })
    }

    async fn borrow(&self) -> Result<Lent, sqlx::Error> {
        Ok(Lent { connection: self.pool.acquire().await?, since: Instant::now() })
    }

    /// Gives connections that nobody uses back to the pool, as long as it is polled.
    pub async fn tend(&self) {
        loop {
            self.has_idle.notified().await;
            while !self.idle().is_empty() {
                tokio::time::sleep(KEPT).await;
                self.idle().retain(Idle::is_fresh);
            }
        }
    }

    /// Gives all connections back to the pool, and keeps none from now on.
    pub fn close(&self) {
        self.places.close();
        self.idle().clear();
    }

    /// Ignores poisoning: a panic while the lock was held cannot have left the list half written.
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < KEPT
    }
}

impl Lane<'_> {
    /// Keeps the connection for another run. Only after a statement has succeeded, and in no transaction: whatever else
    /// happened to the connection is for the pool to find out.
    pub fn keep(self) {
        let Some((lanes, _place)) = self.place else { return };
        if self.lent.since.elapsed() < LENT {
            let mut idle = lanes.idle();
            // Under the lock, so that none is left behind when the lanes are closed.
            if !lanes.places.is_closed() {
                idle.push(Idle { lent: self.lent, since: Instant::now() });
                lanes.has_idle.notify_one();
            }
        }
    }
}

impl Deref for Lane<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.lent.connection
    }
}

impl DerefMut for Lane<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.lent.connection
    }
}
