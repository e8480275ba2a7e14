//! How many runs and messages a session has, whatever happened to it.

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};

use super::{create, get, list};
use crate::support::{
    TestApp,
    scripted_model::{echo, reply, reply_with_tool_call, status},
};

#[derive(Clone, Copy, Debug)]
enum Step {
    Run,
    RunOfAlice,
    RunWithTool,
    FailedRun,
    /// In place of the newest run.
    Regenerate,
    /// From the run at this place, in a copy of the session.
    ContinueInFork(usize),
    /// So many turns that were said elsewhere.
    Append(usize),
    DeleteRun(usize),
    DeleteMessage(usize),
    /// Up to the run at this place.
    Fork(usize),
    /// Written out, deleted, and read in again.
    Move,
    Summarize,
    /// What Alice has said on a session of nobody goes with her.
    EraseAlice,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Run),
        2 => Just(Step::RunOfAlice),
        2 => Just(Step::RunWithTool),
        1 => Just(Step::FailedRun),
        2 => Just(Step::Regenerate),
        1 => (0_usize..20).prop_map(Step::ContinueInFork),
        2 => (1_usize..4).prop_map(Step::Append),
        2 => (0_usize..20).prop_map(Step::DeleteRun),
        2 => (0_usize..20).prop_map(Step::DeleteMessage),
        1 => (0_usize..20).prop_map(Step::Fork),
        1 => Just(Step::Move),
        1 => Just(Step::Summarize),
        1 => Just(Step::EraseAlice),
    ];
    prop::collection::vec(step, 1..30)
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_true_whatever_happens() {
    let app = TestApp::with_agent(|agent| agent.read_chat_history = true).await;
    app.model.otherwise(|request| {
        let is_fold =
            request["messages"][1]["content"].as_str().is_some_and(|text| text.starts_with("<previous_summary>"));
        if is_fold { reply(&json!({"summary": "It was said.", "topics": []}).to_string()) } else { echo(request) }
    });
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        let config = ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() };
        let outcome = TestRunner::new(config).run(&steps(), |steps| {
            runtime.block_on(async {
                app.execute("delete from sessions").await;
                for step in steps {
                    take(&app, step).await;
                    check(&app).await?;
                }
                Ok(())
            })
        });
        outcome.unwrap();
    });
}

async fn say(app: &TestApp, more: Value) {
    let mut body = json!({"message": "Hi", "session_id": "s"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    app.run(body).await;
}

async fn take(app: &TestApp, step: Step) {
    match step {
        Step::Run => say(app, json!({})).await,
        Step::RunOfAlice => say(app, json!({"user_id": "alice"})).await,
        Step::RunWithTool => {
            app.model.then(reply_with_tool_call("get_chat_history", r#"{"num_chats": 1}"#));
            say(app, json!({})).await;
        }
        Step::FailedRun => {
            app.model.then(status(400, "no"));
            say(app, json!({})).await;
        }
        Step::Regenerate => {
            if let Some(run) = runs(app).await.pop() {
                let path = format!("/agents/assistant/runs/{run}/continue");
                app.post(&path, json!({"regenerate": true})).await;
            }
        }
        Step::ContinueInFork(place) => {
            if let Some(run) = at(&runs(app).await, place) {
                let path = format!("/agents/assistant/runs/{run}/continue");
                app.post(&path, json!({"input": "Go on", "fork": true})).await;
            }
        }
        Step::Append(turns) => {
            let user = json!({"role": "user", "content": "I was elsewhere"});
            let mut messages = vec![user; turns];
            messages.push(json!({"role": "assistant", "content": "So I heard"}));
            app.post("/sessions/s/messages", json!({"agent_id": "assistant", "messages": messages})).await;
        }
        Step::DeleteRun(place) => {
            if let Some(run) = at(&runs(app).await, place) {
                app.delete(&format!("/sessions/s/runs/{run}")).await.expect(204);
            }
        }
        Step::DeleteMessage(place) => {
            let found = app.get("/sessions/s/messages?limit=100").await;
            let messages = if found.status == 200 { found.json() } else { json!({"data": []}) };
            let of_people = messages["data"].as_array().unwrap().iter().filter(|message| message["role"] != "tool");
            let ids: Vec<String> = of_people.map(|message| message["id"].as_str().unwrap().to_owned()).collect();
            if let Some(message) = at(&ids, place) {
                app.delete(&format!("/sessions/s/messages/{message}")).await.expect(204);
            }
        }
        Step::Fork(place) => {
            if let Some(run) = at(&runs(app).await, place) {
                app.post("/sessions/s/fork", json!({"up_to_run_id": run})).await.expect(201);
            }
        }
        Step::Move => {
            let export = app.get("/sessions/s/export").await;
            if export.status == 200 {
                app.delete("/sessions/s").await.expect(204);
                app.import(&export.text).await.expect(201);
            }
        }
        Step::Summarize => {
            app.post("/sessions/s/summarize?keep_runs=1&agent_id=assistant", json!({})).await;
        }
        Step::EraseAlice => {
            app.delete("/users/alice").await.expect(200);
        }
    }
}

/// The ids of the session's runs, oldest first; none where there is no session.
async fn runs(app: &TestApp) -> Vec<String> {
    let found = app.get("/sessions/s/runs").await;
    let runs = if found.status == 200 { found.json() } else { json!([]) };
    runs.as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap().to_owned()).collect()
}

fn at(ids: &[String], place: usize) -> Option<&String> {
    ids.get(place % ids.len().max(1))
}

/// Compares what the sessions' rows say, and the list, with the rows that are there.
async fn check(app: &TestApp) -> Result<(), TestCaseError> {
    let rows: Vec<(String, [i64; 3], [i64; 3])> = sqlx::query_as(
        "select s.session_id, array[s.run_count, s.message_count, s.unfolded_runs],
                array[
                    (select count(*) from runs r where r.session_id = s.session_id),
                    (select count(*) from messages m where m.session_id = s.session_id),
                    (select count(*) from run_records r
                     where r.session_id = s.session_id and r.seq > s.summary_through and r.status = 'COMPLETED')
                ]
         from sessions s",
    )
    .fetch_all(app.db())
    .await
    .unwrap();
    for (session_id, said, true_counts) in &rows {
        prop_assert_eq!(said, true_counts, "runs, messages, runs after the summary of {}", session_id);
    }
    let page = list(app, "limit=100").await;
    for item in page["data"].as_array().unwrap() {
        let (_, _, counts) = rows.iter().find(|(session_id, ..)| item["session_id"] == **session_id).unwrap();
        prop_assert_eq!((&item["run_count"], &item["message_count"]), (&json!(counts[0]), &json!(counts[1])));
    }
    Ok(())
}

#[tokio::test]
async fn a_session_shows_how_many_runs_and_messages_it_has() {
    let app = TestApp::with_agent(|agent| agent.read_chat_history = true).await;
    let created = create(&app, json!({"session_id": "s"})).await;
    assert_eq!((&created["run_count"], &created["message_count"]), (&json!(0), &json!(0)));
    app.model.then(reply_with_tool_call("get_chat_history", "{}")).then(reply("Nothing."));
    app.say("s", "What did I say?").await;
    let session = get(&app, "s").await;
    assert_eq!((&session["run_count"], &session["message_count"]), (&json!(1), &json!(4)));
    let all = app.get("/sessions/s/messages?limit=100").await.expect(200);
    assert_eq!(all["data"].as_array().unwrap().len(), 4, "those of tools are counted too");
}
