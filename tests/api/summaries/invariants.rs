//! Whatever happens to a session: its summary and its verbatim window are disjoint, adjacent, and hold exactly the
//! completed runs that are there.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};

use super::{is_fold, marks, message, races::delete_runs, summarize_or_echo, summarizing};
use crate::support::{
    TestApp,
    scripted_model::{reply_with_tool_call, status},
};

#[derive(Clone, Copy, Debug)]
enum Step {
    Run,
    RunWithTool,
    /// The model fails: the run is in no history.
    FailedRun,
    /// Does the jobs that are due.
    Work,
    /// The fold dies after the model was called and before anything is stored; another process does it later.
    WorkThatDies,
    SummarizeNow {
        keep: usize,
    },
    /// Deletes the completed run at this place, if there is one.
    Delete(usize),
    /// Answers the newest run again.
    Regenerate,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Run),
        3 => Just(Step::RunWithTool),
        1 => Just(Step::FailedRun),
        4 => Just(Step::Work),
        1 => Just(Step::WorkThatDies),
        1 => (0_usize..4).prop_map(|keep| Step::SummarizeNow { keep }),
        2 => (0_usize..20).prop_map(Step::Delete),
        1 => Just(Step::Regenerate),
    ];
    prop::collection::vec(step, 1..40)
}

struct World {
    app: TestApp,
    session: String,
    said: usize,
    folds_die: Arc<AtomicBool>,
}

#[tokio::test(flavor = "multi_thread")]
async fn summary_and_window_share_one_boundary_whatever_happens() {
    static SESSIONS: AtomicUsize = AtomicUsize::new(0);
    let app = TestApp::with_agent(|agent| {
        summarizing(agent);
        agent.read_chat_history = true;
        // By the number of runs and by their tokens.
        agent.history.max_runs = Some(4);
    })
    .await;
    let folds_die = Arc::new(AtomicBool::new(false));
    let dying = folds_die.clone();
    app.model.otherwise(move |request| {
        if is_fold(request) && dying.load(Ordering::SeqCst) {
            return status(500, "the process has died");
        }
        summarize_or_echo(request)
    });
    let world = tokio::sync::Mutex::new(World { app, session: String::new(), said: 0, folds_die });
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
        let outcome = TestRunner::new(config).run(&steps(), |steps| {
            runtime.block_on(async {
                let mut world = world.lock().await;
                world.session = format!("s{}", SESSIONS.fetch_add(1, Ordering::SeqCst));
                world.said = 0;
                for step in steps {
                    world.take(step).await;
                    world.check().await?;
                }
                Ok(())
            })
        });
        outcome.unwrap();
    });
}

impl World {
    async fn take(&mut self, step: Step) {
        match step {
            Step::Run | Step::RunWithTool | Step::FailedRun => {
                if matches!(step, Step::RunWithTool) {
                    self.app.model.then(reply_with_tool_call("get_chat_history", r#"{"num_chats": 1}"#));
                }
                if matches!(step, Step::FailedRun) {
                    self.app.model.then(status(400, "no"));
                }
                self.said += 1;
                let body = json!({"message": message(self.said), "session_id": self.session});
                self.app.run(body).await;
            }
            Step::Work => self.app.do_jobs().await,
            Step::WorkThatDies => {
                self.folds_die.store(true, Ordering::SeqCst);
                self.app.do_jobs().await;
                self.folds_die.store(false, Ordering::SeqCst);
                self.app.execute("update graphile_worker._private_jobs set run_at = now()").await;
            }
            Step::SummarizeNow { keep } => {
                self.app
                    .post(
                        &format!("/sessions/{}/summarize?keep_runs={keep}&agent_id=assistant", self.session),
                        json!({}),
                    )
                    .await;
            }
            Step::Delete(place) => {
                let completed = self.completed().await;
                if let Some((seq, _)) = completed.get(place % completed.len().max(1)) {
                    delete_runs(&self.app, &self.session, &[*seq]).await;
                }
            }
            Step::Regenerate => {
                let path = format!("/sessions/{}/runs", self.session);
                let runs = self.app.get(&path).await;
                let newest = if runs.status == 200 {
                    runs.json().as_array().and_then(|runs| runs.last().cloned())
                } else {
                    None
                };
                if let Some(newest) = newest {
                    let path = format!("/agents/assistant/runs/{}/continue", newest["run_id"].as_str().unwrap());
                    self.app.post(&path, json!({"regenerate": true})).await;
                }
            }
        }
    }

    /// The completed runs that are there, with the mark that each bears.
    async fn completed(&self) -> Vec<(i64, String)> {
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "select seq, input from run_records where session_id = $1 and status = 'COMPLETED' order by seq",
        )
        .bind(&self.session)
        .fetch_all(self.app.db())
        .await
        .unwrap();
        rows.into_iter().map(|(seq, input)| (seq, marks(&input).remove(0))).collect()
    }

    async fn check(&self) -> Result<(), TestCaseError> {
        let answer = self.app.get(&format!("/sessions/{}/context?agent_id=assistant", self.session)).await;
        if answer.status == 404 {
            return Ok(());
        }
        let view = answer.expect(200);
        let (context, messages) = (&view["context"], view["messages"].as_array().unwrap());
        let completed = self.completed().await;
        let through = context["summary_through"].as_i64().unwrap_or(0);

        let covered: BTreeSet<_> =
            completed.iter().filter(|(seq, _)| *seq <= through).map(|(_, mark)| mark.clone()).collect();
        // Of what the user said first, the summary is the beginning.
        let users = messages.iter().filter(|message| message["role"] == "user");
        let mut said: Vec<&str> = users.map(|message| message["content"].as_str().unwrap()).collect();
        let (summary, first) = said[0].split_once("</session_summary>").unwrap_or(("", said[0]));
        said[0] = first;
        prop_assert!(said[1..].iter().all(|text| !text.contains("<session_summary>")), "{:?}", said);
        let summarized: BTreeSet<_> = marks(summary).into_iter().collect();
        prop_assert_eq!(&summarized, &covered, "the summary holds exactly the runs up to {}", through);

        let after: Vec<_> = completed.iter().filter(|(seq, _)| *seq > through).collect();
        let left_out = usize::try_from(context["runs_left_out"].as_i64().unwrap()).unwrap();
        let verbatim: Vec<_> = said[..said.len() - 1].iter().map(|text| marks(text).remove(0)).collect();
        let expected: Vec<_> = after.iter().skip(left_out).map(|(_, mark)| mark.clone()).collect();
        prop_assert_eq!(verbatim, expected, "the window begins right after {}", through);
        prop_assert!(context["tokens"]["history"].as_u64().unwrap() <= 600, "{}", context);

        prop_assert_eq!(calls(messages), results(messages), "no tool call is split from its result");
        let counted: (i64, i64) = sqlx::query_as(
            "select coalesce(sum(tokens), 0), count(*) from outcomes
             where session_id = $1 and seq > $2 and status = 'COMPLETED'",
        )
        .bind(&self.session)
        .bind(through)
        .fetch_one(self.app.db())
        .await
        .unwrap();
        prop_assert_eq!(super::boundary(&self.app, &self.session).await, (through, counted.0));
        let runs: i64 = sqlx::query_scalar("select unfolded_runs from sessions where session_id = $1")
            .bind(&self.session)
            .fetch_one(self.app.db())
            .await
            .unwrap();
        prop_assert_eq!(runs, counted.1);
        Ok(())
    }
}

/// The ids of the calls, in order.
fn calls(messages: &[Value]) -> Vec<String> {
    let calls = messages.iter().filter_map(|message| message["tool_calls"].as_array()).flatten();
    calls.map(|call| call["id"].as_str().unwrap().to_owned()).collect()
}

fn results(messages: &[Value]) -> Vec<String> {
    messages.iter().filter_map(|message| message["tool_call_id"].as_str()).map(str::to_owned).collect()
}
