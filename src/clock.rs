//! The current time. It is the database's, so that processes with different clocks store and compare the same times.
//!
//! [`follow`] reads the database's clock at start and with every heartbeat. [`now`] extrapolates from there with the
//! machine's monotonic clock. Statements that decide what is due or expired use the database's own `now()`.
//!
//! *Architecture Invariant:* no other file reads the machine's wall clock. `.clippy.toml` enforces that.

use std::{
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

/// Smaller differences are ignored: a time that jumps back and forth would break the order of events.
const TOLERANCE: TimeDelta = TimeDelta::milliseconds(50);
/// A reading with a longer round trip is too imprecise to replace another one.
const PRECISE: Duration = Duration::from_secs(1);

static READ: RwLock<Option<Reading>> = RwLock::new(None);

/// A reading of the database's clock, with the moment of this process that it belongs to.
#[derive(Clone, Copy, Debug)]
struct Reading {
    moment: Instant,
    time: DateTime<Utc>,
}

impl Reading {
    fn now(self) -> DateTime<Utc> {
        TimeDelta::from_std(self.moment.elapsed())
            .ok()
            .and_then(|passed| self.time.checked_add_signed(passed))
            .unwrap_or(self.time)
    }
}

/// The database's time. Before the first `follow`, the machine's.
pub fn now() -> DateTime<Utc> {
    let reading = *READ.read().unwrap_or_else(PoisonError::into_inner);
    #[expect(clippy::disallowed_methods, reason = "there is no database yet")]
    reading.map_or_else(Utc::now, Reading::now)
}

/// Synchronizes this process's time with the database's.
pub async fn follow(db: &PgPool) -> Result<(), sqlx::Error> {
    let asked = Instant::now();
    let time = sqlx::query_scalar!(r#"select clock_timestamp() as "time!""#).fetch_one(db).await?;
    let took = asked.elapsed();
    let reading = Reading { moment: asked + took / 2, time };
    let mut read = READ.write().unwrap_or_else(PoisonError::into_inner);
    let is_better = match *read {
        None => true,
        Some(known) => took < PRECISE && (known.now() - reading.now()).abs() > TOLERANCE,
    };
    if is_better {
        *read = Some(reading);
    }
    Ok(())
}
