//! Accepting runs and starting them.
//!
//! ```text
//! start ──► task: accept (one statement) ► turn ► history ► engine ► settle (one transaction) ► RunCompleted
//!              └──► RunHandle: events and outcome, for the response that waits ◄───────────────┘
//! ```
//!
//! The task belongs to the process, not to the request: it continues when the client has disconnected, and a shutdown
//! waits for it. `execution` has what comes after accepting. A background run is accepted in the same way; the process
//! that takes it continues from there.

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use sqlx::PgConnection;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    cancelling,
    execution::{Beginning, Outcome, Work},
    living,
};
use crate::{
    agents::Agent,
    app::App,
    clock,
    config::{MAX_HISTORY_RUNS, Settings},
    database,
    events::{self, EventLog},
    idempotency::{self, Attempt},
    memories::recall::Recalling,
    model::{Caller, Error, Opening, RunId, SessionId, SessionType, session, state},
    processes::{
        self, Registry,
        bus::{self, Signal},
        registry::Entry,
        store::{PutBack, Taken},
    },
    runs::{
        spec::{OnBusy, RunSpec},
        store::{self, Accepted, NewRun},
    },
    sessions, webhooks,
};

/// Attempts to accept one run. Each retry is under a new process id, because others have declared the process dead.
const MAX_NAMES: usize = 3;

/// A requested run, and the run that it derives from, if any.
#[derive(Debug)]
pub struct Start {
    pub caller: Caller,
    pub agent: Arc<Agent>,
    pub spec: RunSpec,
    pub forked_from_run_id: Option<RunId>,
    pub regenerated_from: Option<RunId>,
}

/// Validates what the types alone do not.
pub fn check(spec: &RunSpec, settings: &Settings) -> Result<(), Error> {
    if spec.message.is_empty() {
        return Err(Error::invalid("/message", "is empty; give the user's message"));
    }
    if let Some(count) = spec.overrides.num_history_runs.filter(|count| *count > MAX_HISTORY_RUNS) {
        return Err(Error::invalid("/num_history_runs", format!("is {count}; use at most {MAX_HISTORY_RUNS}")));
    }
    if let Some(patch) = &spec.session_state {
        state::check_size(settings.sessions.max_state_bytes, "/session_state", patch)?;
    }
    if let Some(url) = &spec.delivery.webhook_url {
        if !spec.delivery.background {
            let detail = "is for background runs; add background=true, or leave it out";
            return Err(Error::invalid("/webhook_url", detail));
        }
        webhooks::check_url(url, &settings.webhooks)?;
    }
    Ok(())
}

/// The result of a request for a run.
#[derive(Debug)]
pub enum Started {
    New(RunHandle),
    /// The same request was accepted before, under the same `Idempotency-Key`.
    Repeated(SessionId, i64),
}

/// An accepted run: its events as they happen, and its outcome.
#[derive(Debug)]
pub struct RunHandle {
    pub session_id: SessionId,
    pub seq: i64,
    pub run_id: RunId,
    pub events: EventLog,
    pub outcome: oneshot::Receiver<Result<Outcome, Error>>,
}

/// Accepts the run and starts it, in a task of its own. The run continues even if this future is dropped: a client that
/// disconnects must not leave a run that was accepted and never executed.
pub async fn start(app: &Arc<App>, start: Start, attempt: Option<Attempt>) -> Result<Started, Error> {
    check(&start.spec, &app.settings)?;
    let named = start.spec.session_id.clone().or_else(|| start.agent.own_session());
    let session_id = named.unwrap_or_else(SessionId::mint);
    if start.spec.delivery.background {
        refuse_too_many(app, &start.caller).await?;
    }
    let (limits, runs) = (&app.settings.runs, Registry::of(app));
    let background = start.spec.delivery.background;
    let entry = runs.enter(start.caller.tenant(), start.caller.user(), background, limits, start.log())?;
    let (tell_accepted, accepted) = oneshot::channel();
    let app = app.clone();
    let tasks = app.clone();
    tasks.tasks.spawn(async move {
        let mut new = match new_run(&app, &start, session_id, &entry) {
            Ok(new) => new,
            Err(problem) => return drop(tell_accepted.send(Err(problem))),
        };
        // Recall concurrently with accepting, to save latency. A run that has to wait for its turn recalls anew then.
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
                // The receiver may be gone, now or at the end.
                drop(tell_accepted.send(Ok(Started::New(handle))));
                drop(tell_outcome.send(carry_out(app, start, entry, (new, accepted), recalling).await));
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
) -> Result<Outcome, Error> {
    if start.is_left_to_others(&accepted) {
        // Any process with a free place takes it, perhaps this one.
        Registry::of(&app).work.notify_one();
        let detail = "The run goes on in the background; GET it by its id";
        return Err(Error::unavailable(detail).about_run(new.opening.run_id));
    }
    if start.spec.on_busy == OnBusy::Interrupt && !accepted.begins {
        Box::pin(cancelling::interrupt(&app, &start.caller.scope(), &new.session_id)).await;
    }
    let stream = start.spec.delivery.stream || start.spec.delivery.background;
    let Start { agent, spec, .. } = start;
    let (claim, entry) = (accepted.claim, Arc::new(entry));
    let work = Work { app, agent, spec, opening: new.opening, claim, entry, stream };
    if accepted.begins {
        work.carry_out(Beginning { recalling, ..Beginning::with(accepted.session_state) }).await
    } else {
        drop(recalling);
        work.wait_and_carry_out().await
    }
}

/// Executes a background run that this process has taken, or puts it back for processes that can.
pub(crate) async fn go_on(app: &Arc<App>, taken: Taken) {
    let claim = taken.claim.clone();
    let because = match resume(app, taken) {
        Ok((work, beginning)) => {
            // Nobody waits for the outcome here; a failure is stored with the run.
            app.tasks.spawn(async move { drop(work.carry_out(beginning).await) });
            return;
        }
        Err(because) => because,
    };
    let why = PutBack::Declined { by: Registry::of(app).process(), because: &because };
    let put_back = async { processes::store::put_back(&mut *app.db.acquire().await?, &claim, why).await };
    match put_back.await {
        Ok(_) => bus::tell(app, Signal::Work).await,
        // The next recovery finds it as an orphan.
        Err(error) => tracing::warn!(run.id = %claim.run_id, %error, "A background run could not be put back yet."),
    }
}

/// Prepares the execution of the run, or returns why this process cannot execute it.
fn resume(app: &Arc<App>, taken: Taken) -> Result<(Work, Beginning), String> {
    let run_id = taken.claim.run_id;
    let spec = RunSpec::read(taken.request.unwrap_or_default()).map_err(|error| {
        // The parse error goes to the log only: it may quote the user's message.
        tracing::warn!(run.id = %run_id, %error, "A background run cannot be read here; it is left to other processes.");
        "A newer version of this server accepted the run, and no process that understands it took it in time; send the \
         message again"
            .to_owned()
    })?;
    let opening = taken.opening;
    let Ok(agent) = app.agents.get(&opening.component_id) else {
        let agent = opening.component_id;
        tracing::warn!(run.id = %run_id, agent, "The agent of a background run is not declared here.");
        return Err(format!("There is no agent '{agent}' any more; declare it, or start another run"));
    };
    let again = taken.attempt > 1 || taken.heard > 0;
    let first = if again { events::store::first_of_next_attempt(taken.heard) } else { 0 };
    let log = EventLog::recording(first);
    let entry =
        Arc::new(Registry::of(app).enter_background(run_id, &taken.claim.tenant_id, opening.user_id.as_ref(), log));
    let _ = entry.run.is_stored.set(());
    let work = Work { app: app.clone(), agent, spec, opening, claim: taken.claim, entry, stream: true };
    Ok((work, Beginning { again, ..Beginning::with(taken.session_state) }))
}

impl Start {
    /// A background run that does not begin at once is left to the process that takes it, which also has its events.
    fn is_left_to_others(&self, accepted: &Accepted) -> bool {
        self.spec.delivery.background && !accepted.begins
    }

    fn recall(&self, app: &Arc<App>) -> Option<Recalling> {
        let settings = self.spec.overrides.memory_settings(&self.agent.settings);
        Recalling::begin(app, &settings, self.caller.tenant(), self.caller.user(), &self.spec.message)
    }

    /// Events are recorded only if there may be readers. A run whose caller waits for one answer has none.
    fn log(&self) -> EventLog {
        let delivery = &self.spec.delivery;
        if delivery.stream || delivery.background { EventLog::recording(0) } else { EventLog::default() }
    }
}

async fn refuse_too_many(app: &App, caller: &Caller) -> Result<(), Error> {
    let limits = &app.settings.runs;
    let (of_all, of_user) = (limits.max_background_waiting, limits.max_queued_per_user);
    let waiting =
        processes::store::count_background(&app.db, caller.tenant(), caller.user(), (of_all, of_user)).await?;
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
    Err(Error::limited(detail, Duration::from_secs(10)))
}

fn new_run(app: &App, start: &Start, session_id: SessionId, entry: &Entry) -> Result<NewRun, Error> {
    let Start { caller, agent, spec, .. } = start;
    let limits = &app.settings.runs;
    let background = spec.delivery.background;
    let request = background.then(|| serde_json::to_value(spec)).transpose().map_err(anyhow::Error::from)?;
    Ok(NewRun {
        tenant_id: caller.tenant().clone(),
        opening: Opening {
            run_id: entry.run.run_id,
            component_id: agent.settings.id.clone(),
            user_id: caller.user().cloned(),
            input: spec.message.clone(),
            metadata: spec.metadata.clone(),
            message_id: Uuid::now_v7(),
            forked_from_run_id: start.forked_from_run_id,
            regenerated_from: start.regenerated_from,
            created_at: clock::now(),
        },
        session_id,
        session_type: SessionType::Agent,
        session_name: session::title(&spec.message),
        initial_state: agent.settings.session_state.clone(),
        text_config: app.settings.search.text_config.clone(),
        process: Registry::of(app).process(),
        background,
        may_begin: entry.may_begin,
        max_waiting: if spec.on_busy == OnBusy::Reject { 0 } else { limits.max_waiting_per_session },
        max_attempts: limits.max_attempts,
        request,
    })
}

enum Taking {
    Accepted(Accepted),
    Repeated(SessionId, i64),
}

/// Accepts the run under the id of this process. If others have declared it dead, it first registers under a new id.
async fn accept(app: &App, start: &Start, new: &mut NewRun, attempt: Option<&Attempt>) -> Result<Taking, Error> {
    for _ in 0..MAX_NAMES {
        new.process = Registry::of(app).process();
        if let Some(taking) = try_accept(app, new, attempt).await? {
            return Ok(taking);
        }
        if processes::store::lives(&app.db, new.process).await? {
            return Err(Box::pin(refusal(app, start, new)).await?);
        }
        Box::pin(living::enter_anew(app, new.process)).await?;
    }
    Err(Error::unavailable("This server is too slow to be taken for alive; try again in a moment"))
}

/// `None` if the session refuses the run, or the process is not registered any more.
async fn try_accept(app: &App, new: &NewRun, attempt: Option<&Attempt>) -> Result<Option<Taking>, Error> {
    if let Some(attempt) = attempt {
        return Box::pin(try_accept_once(app, new, attempt)).await;
    }
    let mut lane = app.lanes.acquire().await?;
    let accepted = accept_and_name(&mut lane, new).await?;
    lane.keep();
    Ok(accepted.map(Taking::Accepted))
}

async fn try_accept_once(app: &App, new: &NewRun, attempt: &Attempt) -> Result<Option<Taking>, Error> {
    let mut tx = database::begin(&app.db).await?;
    if !idempotency::claim_for_run(&mut tx, attempt).await? {
        drop(tx);
        let (session_id, seq) = idempotency::first_run(app, attempt).await?;
        return Ok(Some(Taking::Repeated(session_id, seq)));
    }
    let Some(accepted) = accept_and_name(&mut tx, new).await? else { return Ok(None) };
    idempotency::attach_run(&mut tx, attempt, &new.session_id, accepted.claim.seq).await?;
    tx.commit().await?;
    Ok(Some(Taking::Accepted(accepted)))
}

async fn accept_and_name(connection: &mut PgConnection, new: &NewRun) -> Result<Option<Accepted>, sqlx::Error> {
    let accepted = store::accept(&mut *connection, new).await?;
    if accepted.as_ref().is_some_and(|accepted| accepted.is_unnamed) {
        store::name_session(connection, new).await?;
    }
    Ok(accepted)
}

/// Why the session refuses the run: it has another type, it is missing or not writable for this caller, or it is busy.
async fn refusal(app: &App, start: &Start, new: &NewRun) -> Result<Error, sqlx::Error> {
    let caller = &start.caller;
    let session_id = &new.session_id;
    let found = sessions::store::find(&app.db, &caller.scope(), session_id).await?;
    let Some(session) = found.filter(|session| caller.may_continue(session.user_id.as_ref())) else {
        let detail = match start.spec.session_id {
            Some(_) => "Session not found: it is another's; give the user_id that it began with, or another session_id",
            None => "Session not found: the agent's own is another user's; give a session_id",
        };
        return Ok(Error::not_found(detail));
    };
    if session.session_type != new.session_type {
        return Ok(Error::conflict(format!(
            "Session '{session_id}' is a {} session; use another session_id for an agent",
            session.session_type
        )));
    }
    if start.spec.on_busy == OnBusy::Reject {
        let running = processes::store::active_run(&app.db, &caller.scope(), session_id).await?;
        let problem = Error::conflict(format!(
            "Session '{session_id}' has a run already; wait until it has ended, or use on_busy=enqueue or interrupt"
        ));
        return Ok(match running {
            Some(running) => problem.about_run(running),
            // The active run has just ended.
            None => problem.retry_after(Duration::from_secs(1)),
        });
    }
    let detail = format!(
        "{} runs of session '{session_id}' are waiting already; wait until some have ended",
        app.settings.runs.max_waiting_per_session
    );
    Ok(Error::limited(detail, Duration::from_secs(1)))
}
