//! Circuit breakers: a model that keeps failing at background work is left alone for a while.
//!
//! There is one for each model and purpose, because a model that cannot find memories may still write summaries. The
//! state is local to the process: its size is bounded by the settings, and every other process learns the same at the
//! price of [`FAILURES`] calls.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{app::App, usage::Purpose};

/// Failures in a row that open the breaker.
const FAILURES: u32 = 3;
/// The pause doubles after each failed trial, at most this often: by default from 30 seconds to 16 minutes.
const DOUBLINGS: u32 = 5;
/// Minimum retry delay; it applies while another piece of work tries the model.
const UNDER_TRIAL: Duration = Duration::from_secs(5);

type Circuit = (String, Purpose);

#[derive(Debug)]
pub struct Breakers {
    first_pause: Duration,
    circuits: Mutex<HashMap<Circuit, State>>,
}

/// The state of a circuit since the model's last success.
#[derive(Debug, Default)]
struct State {
    failures: u32,
    reason: String,
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    retry_at: Instant,
    doublings: u32,
    is_under_trial: bool,
}

/// The breaker is open: the model is not asked now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "The model {model} is left alone for a while, because it has failed several times in a row. The last time: {reason}"
)]
pub struct Resting {
    model: String,
    reason: String,
    pub retry_in: Duration,
}

/// Permission to ask the model once. If it is dropped without a verdict, the next caller may try.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    breakers: &'a Breakers,
    circuit: Circuit,
    is_trial: bool,
}

impl Breakers {
    /// The breakers of this process.
    pub fn of(app: &App) -> Arc<Self> {
        app.room_with(|| Self::new(app.settings.jobs.model_pause))
    }

    fn new(first_pause: Duration) -> Self {
        Self { first_pause, circuits: Mutex::default() }
    }

    /// Allows a trial of every model now, because somebody has asked for it.
    pub fn allow_a_try(&self) {
        for open in self.lock().values_mut().filter_map(|state| state.open.as_mut()) {
            open.retry_at = Instant::now();
        }
    }

    /// `is_asked_for`: somebody waits for the answer, so the model is asked even if the breaker is open.
    pub(crate) fn enter(&self, model: &str, purpose: Purpose, is_asked_for: bool) -> Result<Pass<'_>, Resting> {
        self.enter_at(Instant::now(), model, purpose, is_asked_for)
    }

    fn enter_at(&self, now: Instant, model: &str, purpose: Purpose, is_asked_for: bool) -> Result<Pass<'_>, Resting> {
        let circuit = (model.to_owned(), purpose);
        let mut circuits = self.lock();
        let state = circuits.entry(circuit.clone()).or_default();
        let is_trial = match &mut state.open {
            Some(open) if !is_asked_for => {
                let retry_in = open.retry_at.saturating_duration_since(now);
                if open.is_under_trial || !retry_in.is_zero() {
                    let retry_in = retry_in.max(UNDER_TRIAL);
                    return Err(Resting { model: model.to_owned(), reason: state.reason.clone(), retry_in });
                }
                open.is_under_trial = true;
                true
            }
            _ => false,
        };
        drop(circuits);
        Ok(Pass { breakers: self, circuit, is_trial })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Circuit, State>> {
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    pub(crate) fn succeeded(mut self) {
        self.is_trial = false;
        self.breakers.lock().remove(&self.circuit);
    }

    /// Returns how long the model rests; `None` if the breaker stays closed.
    pub(crate) fn failed(self, reason: &str) -> Option<Duration> {
        self.failed_at(Instant::now(), reason)
    }

    fn failed_at(mut self, now: Instant, reason: &str) -> Option<Duration> {
        let is_trial = std::mem::take(&mut self.is_trial);
        let first_pause = self.breakers.first_pause;
        let mut circuits = self.breakers.lock();
        let state = circuits.entry(self.circuit.clone()).or_default();
        reason.clone_into(&mut state.reason);
        state.failures = state.failures.saturating_add(1);
        let doublings = match state.open {
            // Asked before the breaker opened, or in spite of it: this failure says nothing new.
            Some(open) if !is_trial => return Some(open.retry_at.saturating_duration_since(now)),
            Some(open) => Some((open.doublings + 1).min(DOUBLINGS)),
            None => (state.failures >= FAILURES).then_some(0),
        };
        let pause = first_pause * 2_u32.pow(doublings?);
        state.open = doublings.map(|doublings| Open { retry_at: now + pause, doublings, is_under_trial: false });
        Some(pause)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_trial
            && let Some(open) = self.breakers.lock().get_mut(&self.circuit).and_then(|state| state.open.as_mut())
        {
            open.is_under_trial = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);

    fn enter(breakers: &Breakers, at: Instant) -> Result<Pass<'_>, Resting> {
        breakers.enter_at(at, "fast", Purpose::Memory, false)
    }

    fn opened(at: Instant) -> Breakers {
        let breakers = Breakers::new(PAUSE);
        for _ in 1..FAILURES {
            assert_eq!(enter(&breakers, at).unwrap().failed_at(at, "no"), None);
        }
        assert_eq!(enter(&breakers, at).unwrap().failed_at(at, "no"), Some(PAUSE));
        breakers
    }

    #[test]
    fn it_opens_after_failures_in_a_row_for_this_model_and_purpose_alone() {
        let now = Instant::now();
        let breakers = opened(now);
        let resting = enter(&breakers, now).unwrap_err();
        assert_eq!(resting.retry_in, PAUSE);
        assert!(resting.to_string().ends_with("The last time: no"), "{resting}");
        assert!(breakers.enter_at(now, "fast", Purpose::Summary, false).is_ok());
        assert!(breakers.enter_at(now, "other", Purpose::Memory, false).is_ok());
    }

    #[test]
    fn failures_between_successes_leave_it_closed() {
        let breakers = Breakers::new(PAUSE);
        for _ in 0..20 {
            for _ in 1..FAILURES {
                assert_eq!(enter(&breakers, Instant::now()).unwrap().failed("no"), None);
            }
            enter(&breakers, Instant::now()).unwrap().succeeded();
        }
    }

    #[test]
    fn after_the_pause_one_try_decides_and_the_pauses_grow_up_to_a_limit() {
        let mut now = Instant::now();
        let breakers = opened(now);
        let mut pause = PAUSE;
        for _ in 0..10 {
            now += pause;
            let trial = enter(&breakers, now).unwrap();
            assert_eq!(enter(&breakers, now).unwrap_err().retry_in, UNDER_TRIAL);
            pause = trial.failed_at(now, "no").unwrap();
            assert_eq!(enter(&breakers, now).unwrap_err().retry_in, pause);
        }
        assert_eq!(pause, PAUSE * 32);
        enter(&breakers, now + pause).unwrap().succeeded();
        assert_eq!(enter(&breakers, now).unwrap().failed_at(now, "no"), None);
    }

    #[test]
    fn a_try_that_says_nothing_leaves_the_next_one_to_decide() {
        let now = Instant::now();
        let breakers = opened(now);
        drop(enter(&breakers, now + PAUSE).unwrap());
        assert!(enter(&breakers, now + PAUSE).is_ok());
    }

    #[test]
    fn calls_that_were_under_way_when_it_opened_do_not_lengthen_the_pause() {
        let now = Instant::now();
        let breakers = Breakers::new(PAUSE);
        let passes: Vec<Pass<'_>> = (0..20).map(|_| enter(&breakers, now).unwrap()).collect();
        for pass in passes {
            pass.failed_at(now, "no");
        }
        assert_eq!(enter(&breakers, now).unwrap_err().retry_in, PAUSE);
    }

    #[test]
    fn whoever_asks_for_it_is_let_through_and_a_success_closes_it() {
        let now = Instant::now();
        let breakers = opened(now);
        assert!(breakers.enter_at(now, "fast", Purpose::Memory, true).unwrap().failed_at(now, "no").is_some());
        assert!(enter(&breakers, now).is_err());
        breakers.enter_at(now, "fast", Purpose::Memory, true).unwrap().succeeded();
        assert!(enter(&breakers, now).is_ok());
        let breakers = opened(Instant::now());
        breakers.allow_a_try();
        assert!(enter(&breakers, Instant::now()).is_ok());
    }
}
