//! The rules of runs.
//!
//! ```text
//! start ──► task: accept (one statement) ► turn ► history ► engine ► settle (one transaction) ► RunCompleted
//!              └──► RunHandle: events and outcome, for the response that waits ◄───────────────┘
//! ```
//!
//! The task belongs to the process, not to the request: it goes on when the client has gone away, and a shutdown waits
//! for it. `work` has what comes after accepting. A background run is accepted in the same way; whichever process takes
//! it goes on from there.

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    cancelling,
    continuing::Continuation,
    encode::EventSource,
    events::EventLog,
    living,
    model::RunId,
    registry::Entry,
    request::{CreateRun, OnBusy},
    store::{self, Accepted, NewRun, PutBack, Taken},
    turns,
    wire::RunOutput,
    work::{Beginning, Origin, Work},
};
use crate::{
    agents::Agent,
    app::App,
    auth::Caller,
    clock, database,
    http::{
        Problem,
        idempotency::{self, Attempt},
    },
    memories::recall::Recalling,
    sessions::{self, SessionId, SessionType},
};

/// How often a process may be buried while it accepts one run.
const MAX_NAMES: usize = 3;

/// A run that a client asks for, and where it comes from if not from the client alone.
#[derive(Debug)]
pub struct Start {
    pub caller: Caller,
    pub agent: Arc<Agent>,
    pub run: CreateRun,
    /// Whether somebody wants to hear the answer piece by piece.
    pub stream: bool,
    pub forked_from_run_id: Option<RunId>,
    pub regenerated_from: Option<RunId>,
    pub continuation: Option<Continuation>,
}

/// What another process needs to execute a run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Queued {
    pub(super) run: CreateRun,
    pub(super) continuation: Option<Continuation>,
}

/// What became of a request for a run.
#[derive(Debug)]
pub enum Started {
    New(RunHandle),
    /// The same request was accepted before, under the same `Idempotency-Key`.
    Repeated(SessionId, i64),
}

/// An accepted run: its events as they happen, and its end.
#[derive(Debug)]
pub struct RunHandle {
    pub session_id: SessionId,
    pub seq: i64,
    pub run_id: RunId,
    pub events: EventLog,
    pub outcome: oneshot::Receiver<Result<RunOutput, Problem>>,
}

/// Accepts the run and starts it. From here on it is stored, and ends by itself: also when this future is dropped,
/// because a client that goes away must not leave a run that was accepted and never executed.
pub async fn start(app: &Arc<App>, start: Start, attempt: Option<Attempt>) -> Result<Started, Problem> {
    let named = start.run.session_id.clone().or_else(|| start.agent.own_session());
    let session_id = named.unwrap_or_else(SessionId::mint);
    if start.run.is_background() {
        refuse_too_many(app, &start.caller).await?;
    }
    let limits = &app.settings.runs;
    let entry = app
        .runs
        .enter(start.caller.user(), start.run.is_background(), limits, |run_id| start.log(run_id, &session_id))?;
    let (tell_accepted, accepted) = oneshot::channel();
    let app = app.clone();
    let tasks = app.clone();
    tasks.tasks.spawn(async move {
        let mut new = match new_run(&app, &start, session_id, &entry) {
            Ok(new) => new,
            Err(problem) => return drop(tell_accepted.send(Err(problem))),
        };
        // Beside the acceptance, so that nobody waits for it longer; a run that has to wait for its turn looks anew then.
        let recalling = start.recall(&app);
        match accept(&app, &start, &mut new, attempt.as_ref()).await {
            Err(problem) => drop(tell_accepted.send(Err(problem))),
            Ok(Taking::Repeated(session_id, seq)) => {
                drop(tell_accepted.send(Ok(Started::Repeated(session_id, seq))));
            }
            Ok(Taking::Accepted(accepted)) => {
                let _ = entry.run.is_stored.set(());
                let (tell_outcome, outcome) = oneshot::channel();
                let handle = RunHandle {
                    session_id: accepted.claim.session_id.clone(),
                    seq: accepted.claim.seq,
                    run_id: accepted.claim.run_id,
                    events: if start.is_left_to_others(&accepted) {
                        EventLog::default()
                    } else {
                        entry.run.events.clone()
                    },
                    outcome,
                };
                // Nobody may be listening any more, now or at the end.
                drop(tell_accepted.send(Ok(Started::New(handle))));
                drop(tell_outcome.send(Box::pin(carry_out(app, start, entry, (new, accepted), recalling)).await));
            }
        }
    });
    accepted.await.map_err(|_| anyhow!("accepting a run panicked"))?
}

async fn carry_out(
    app: Arc<App>,
    start: Start,
    entry: Entry,
    (new, accepted): (NewRun, Accepted),
    recalling: Option<Recalling>,
) -> Result<RunOutput, Problem> {
    if start.is_left_to_others(&accepted) {
        // Whoever has the time takes it: perhaps this process.
        app.runs.work.notify_one();
        let detail = "The run goes on in the background; GET it by its id";
        return Err(Problem::unavailable(detail).about_run(new.run_id.0));
    }
    if start.run.on_busy == Some(OnBusy::Interrupt) && !accepted.begins {
        cancelling::interrupt(&app, &start.caller.scope(), &new.session_id).await;
    }
    let stream = start.stream || start.run.is_background();
    let Start { agent, run, continuation, .. } = start;
    let work = Work {
        app,
        agent,
        run,
        continuation,
        origin: new.into(),
        claim: accepted.claim,
        entry: Arc::new(entry),
        stream,
    };
    if accepted.begins {
        work.carry_out(Beginning { recalling, ..Beginning::with(accepted.session_state) }).await
    } else {
        drop(recalling);
        work.wait_and_carry_out().await
    }
}

/// Goes on with a background run that this process has taken, or puts it back for those that can.
pub(super) async fn go_on(app: &Arc<App>, taken: Taken) {
    let claim = taken.claim.clone();
    let because = match resume(app, taken) {
        Ok((work, beginning)) => {
            // A problem has been logged and written down: nobody waits for it here.
            app.tasks.spawn(async move { drop(work.carry_out(beginning).await) });
            return;
        }
        Err(because) => because,
    };
    let why = PutBack::Declined { by: app.runs.process(), because: &because };
    let put_back = async { store::put_back(&mut *app.db.acquire().await?, &claim, why).await };
    match put_back.await {
        Ok(_) => turns::tell(app, &turns::Message::Work).await,
        // It is found by the next look for runs that nobody executes.
        Err(error) => tracing::warn!(run.id = %claim.run_id, %error, "A background run could not be put back yet."),
    }
}

/// What it takes to execute the run here, or why this process cannot.
fn resume(app: &Arc<App>, taken: Taken) -> Result<(Work, Beginning), String> {
    let run_id = taken.claim.run_id;
    let Queued { run, continuation } = Queued::deserialize(taken.request.unwrap_or_default()).map_err(|error| {
        // Without the error's words where others read them: they may quote the message.
        tracing::warn!(run.id = %run_id, %error, "A background run cannot be read here; it is left to other processes.");
        "A newer version of this server accepted the run, and no process that understands it took it in time; send the \
         message again"
            .to_owned()
    })?;
    let Ok(agent) = app.agents.get(&taken.component_id) else {
        tracing::warn!(run.id = %run_id, agent = taken.component_id, "The agent of a background run is not declared here.");
        return Err(format!("There is no agent '{}' any more; declare it, or start another run", taken.component_id));
    };
    let again = taken.attempt > 1 || taken.heard > 0;
    let first = if again { beyond(taken.heard) } else { 0 };
    let source = EventSource::new(&agent, run_id, &taken.claim.session_id, true);
    let entry = app.runs.enter_background(run_id, taken.user_id.as_ref(), EventLog::recording(source, first));
    let _ = entry.run.is_stored.set(());
    let origin = Origin {
        component_id: taken.component_id,
        user_id: taken.user_id,
        input: taken.input,
        metadata: taken.metadata,
        message_id: taken.message_id,
        forked_from_run_id: taken.forked_from_run_id,
        regenerated_from: taken.regenerated_from,
        at: taken.created_at,
    };
    let work = Work {
        app: app.clone(),
        agent,
        run,
        continuation,
        origin,
        claim: taken.claim,
        entry: Arc::new(entry),
        stream: true,
    };
    Ok((work, Beginning { again, ..Beginning::with(taken.session_state) }))
}

/// The first index of another attempt: beyond whatever was heard of the one before, stored or not.
fn beyond(heard: i32) -> i32 {
    const EVENTS_PER_ATTEMPT: i32 = 1_000_000;
    (heard / EVENTS_PER_ATTEMPT + 1).saturating_mul(EVENTS_PER_ATTEMPT)
}

impl Start {
    /// A background run that does not begin at once is for whoever takes it, and what it says is heard from there.
    fn is_left_to_others(&self, accepted: &Accepted) -> bool {
        self.run.is_background() && !accepted.begins
    }

    fn recall(&self, app: &Arc<App>) -> Option<Recalling> {
        let settings = self.run.memory_settings(&self.agent.settings);
        Recalling::begin(app, &settings, self.caller.user(), &self.run.message)
    }

    /// Events are recorded where somebody may listen: a run whose caller waits for one answer has no listener.
    fn log(&self, run_id: RunId, session_id: &SessionId) -> EventLog {
        let is_background = self.run.is_background();
        if !self.stream && !is_background {
            return EventLog::default();
        }
        EventLog::recording(EventSource::new(&self.agent, run_id, session_id, is_background), 0)
    }
}

async fn refuse_too_many(app: &App, caller: &Caller) -> Result<(), Problem> {
    let limits = &app.settings.runs;
    let (of_all, of_user) = (limits.max_background_waiting, limits.max_queued_per_user);
    let waiting = store::count_background(&app.db, caller.user(), (of_all, of_user)).await?;
    let detail = if waiting.of_share >= i64::from(of_user) {
        let (of_whom, remedy) = match caller.user() {
            Some(_) => ("of this user", ""),
            None => ("without a user_id", "give runs the user_id of whoever asks for them, "),
        };
        format!(
            "{of_user} background runs {of_whom} are waiting already; wait until some have ended, {remedy}\
             or raise runs.max_queued_per_user"
        )
    } else if waiting.all >= i64::from(of_all) {
        format!("{of_all} background runs are waiting already; try again later, or raise runs.max_background_waiting")
    } else {
        return Ok(());
    };
    Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(Duration::from_secs(10)))
}

fn new_run(app: &App, start: &Start, session_id: SessionId, entry: &Entry) -> Result<NewRun, Problem> {
    let Start { caller, agent, run, .. } = start;
    let limits = &app.settings.runs;
    let queued = run.is_background().then(|| Queued { run: run.clone(), continuation: start.continuation.clone() });
    Ok(NewRun {
        run_id: entry.run.run_id,
        session_id,
        session_type: SessionType::Agent,
        component_id: agent.settings.id.clone(),
        user_id: caller.user().cloned(),
        session_name: sessions::model::title(&run.message),
        initial_state: agent.settings.session_state.clone(),
        input: run.message.clone(),
        metadata: run.metadata.clone().unwrap_or_default(),
        message_id: Uuid::now_v7(),
        text_config: app.settings.search.text_config.clone(),
        process: app.runs.process(),
        background: run.is_background(),
        may_begin: entry.may_begin,
        max_waiting: if run.on_busy == Some(OnBusy::Reject) { 0 } else { limits.max_waiting_per_session },
        max_attempts: limits.max_attempts,
        request: queued.map(serde_json::to_value).transpose().map_err(anyhow::Error::from)?,
        forked_from_run_id: start.forked_from_run_id,
        regenerated_from: start.regenerated_from,
        at: clock::now(),
    })
}

enum Taking {
    Accepted(Accepted),
    Repeated(SessionId, i64),
}

/// Accepts the run under the name of this process. One that others have buried gets a new name first.
async fn accept(app: &App, start: &Start, new: &mut NewRun, attempt: Option<&Attempt>) -> Result<Taking, Problem> {
    for _ in 0..MAX_NAMES {
        new.process = app.runs.process();
        if let Some(taking) = try_accept(app, new, attempt).await? {
            return Ok(taking);
        }
        if store::lives(&app.db, new.process).await? {
            return Err(refusal(app, &start.caller, &start.run, new).await?);
        }
        living::enter_anew(app, new.process).await?;
    }
    Err(Problem::unavailable("This server is too slow to be taken for alive; try again in a moment"))
}

/// `None`: the session does not take the run, or the process does not live.
async fn try_accept(app: &App, new: &NewRun, attempt: Option<&Attempt>) -> Result<Option<Taking>, Problem> {
    let Some(attempt) = attempt else {
        return Ok(store::accept(&mut *app.db.acquire().await?, new).await?.map(Taking::Accepted));
    };
    let mut tx = database::begin(&app.db).await?;
    if !idempotency::claim_for_run(&mut tx, attempt).await? {
        drop(tx);
        let (session_id, seq) = idempotency::first_run(app, attempt).await?;
        return Ok(Some(Taking::Repeated(session_id, seq)));
    }
    let Some(accepted) = store::accept(&mut tx, new).await? else { return Ok(None) };
    idempotency::attach_run(&mut tx, attempt, &new.session_id, accepted.claim.seq).await?;
    tx.commit().await?;
    Ok(Some(Taking::Accepted(accepted)))
}

/// Why the session does not take the run: it is of another type, there is none that this caller may write to, or it is
/// busy.
async fn refusal(app: &App, caller: &Caller, run: &CreateRun, new: &NewRun) -> Result<Problem, sqlx::Error> {
    let session_id = &new.session_id;
    let found = sessions::store::find(&app.db, &caller.scope(), session_id).await?;
    let Some(session) = found.filter(|session| caller.may_continue(session.user_id.as_ref())) else {
        let detail = match run.session_id {
            Some(_) => "Session not found: it is another's; give the user_id that it began with, or another session_id",
            None => "Session not found: the agent's own is another user's; give a session_id",
        };
        return Ok(Problem::not_found(detail));
    };
    if session.session_type != new.session_type {
        return Ok(Problem::conflict(format!(
            "Session '{session_id}' is a {} session; use another session_id for an agent",
            session.session_type
        )));
    }
    if run.on_busy == Some(OnBusy::Reject) {
        let running = store::active_run(&app.db, &caller.scope(), session_id).await?;
        let problem = Problem::conflict(format!(
            "Session '{session_id}' has a run already; wait until it has ended, or use on_busy=enqueue or interrupt"
        ));
        return Ok(match running {
            Some(running) => problem.about_run(running.0),
            // It has just ended.
            None => problem.retry_after(Duration::from_secs(1)),
        });
    }
    let detail = format!(
        "{} runs of session '{session_id}' are waiting already; wait until some have ended",
        app.settings.runs.max_waiting_per_session
    );
    Ok(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(Duration::from_secs(1)))
}

impl From<NewRun> for Origin {
    fn from(new: NewRun) -> Self {
        Self {
            component_id: new.component_id,
            user_id: new.user_id,
            input: new.input,
            metadata: new.metadata,
            message_id: new.message_id,
            forked_from_run_id: new.forked_from_run_id,
            regenerated_from: new.regenerated_from,
            at: new.at,
        }
    }
}
