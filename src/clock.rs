//! What time it is. That is for the database to say: processes whose own clocks differ store and compare the same times.
//!
//! [`follow`] reads the database's clock at start and with every sign of life; [`now`] counts on from there by the
//! machine's monotonic clock. A statement that decides what is due or expired asks the database itself, with `now()`.
//!
//! *Architecture Invariant:* no other file reads the machine's clock. `.clippy.toml` sees to that.

use std::{
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

/// A smaller difference is left alone: a time that goes back and forth would put what follows each other out of order.
const TOLERANCE: TimeDelta = TimeDelta::milliseconds(50);
/// An answer that took longer says too little about when it was given.
const PRECISE: Duration = Duration::from_secs(1);

static READ: RwLock<Option<Reading>> = RwLock::new(None);

/// What the database's clock showed at a moment of this process.
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

/// The database's time; the machine's as long as no database was asked.
pub fn now() -> DateTime<Utc> {
    let reading = *READ.read().unwrap_or_else(PoisonError::into_inner);
    #[expect(clippy::disallowed_methods, reason = "there is no database yet")]
    reading.map_or_else(Utc::now, Reading::now)
}

/// Sets this process's time by the database's.
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
