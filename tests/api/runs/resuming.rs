//! Streams that are picked up again.

use std::time::Duration;

use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, ServerEvent, TestApp, scripted_model::slow_pieces};

async fn events_after(app: &TestApp, run_id: &str, last: Option<usize>) -> Vec<ServerEvent> {
    let mut request = app.request(Method::GET, &format!("/agents/assistant/runs/{run_id}/events"));
    if let Some(last) = last {
        request = request.header("last-event-id", last.to_string());
    }
    app.send(request).await.events()
}

fn as_heard(events: &[ServerEvent]) -> Vec<(String, String)> {
    events.iter().map(|event| (event.id.clone(), event.name.clone())).collect()
}

#[tokio::test]
async fn a_stream_that_broke_off_is_picked_up_where_it_was() {
    let app = TestApp::start().await;
    app.model.then(slow_pieces(Duration::from_millis(40), &"word ".repeat(30)));
    let request = app.request(Method::POST, "/agents/assistant/runs");
    let body = json!({"message": "hi", "session_id": "s", "stream": true});
    let mut stream = request.json(&body).send().await.unwrap().bytes_stream();
    let mut text = String::new();
    while !text.contains("\nid: 4\n") {
        text += &String::from_utf8_lossy(&stream.next().await.unwrap().unwrap());
    }
    drop(stream);
    let run_id = text.split("\"run_id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let rest = events_after(&app, &run_id, Some(4)).await;
    assert_eq!(rest[0].id, "5");
    assert_eq!(rest.last().unwrap().name, "RunCompleted");
    // Afterwards, from the database, it is the same to the letter.
    let all = events_after(&app, &run_id, None).await;
    assert_eq!(as_heard(&all[5..]), as_heard(&rest));
    assert_eq!(all.last().unwrap().data["content"], "word ".repeat(30));
    let said: String =
        all.iter().filter(|e| e.name == "RunContent").map(|e| e.data["content"].as_str().unwrap()).collect();
    assert_eq!(said, "word ".repeat(30));
    let rows: i64 = sqlx::query_scalar("select count(*) from run_events").fetch_one(app.db()).await.unwrap();
    assert!(rows < 10, "{rows} rows for {} events", all.len());
}

#[tokio::test]
async fn a_long_answer_is_told_again_in_full_from_many_batches() {
    let app = TestApp::start().await;
    app.model.then(slow_pieces(Duration::ZERO, &"a-word-of-some-length ".repeat(4_000)));
    let live = app.run(json!({"message": "hi", "session_id": "s", "stream": true})).await.events();
    let batches: i64 = sqlx::query_scalar("select count(*) from run_events").fetch_one(app.db()).await.unwrap();
    assert!(batches > 8, "{batches} batches");
    let again = events_after(&app, live[0].data["run_id"].as_str().unwrap(), None).await;
    assert_eq!(as_heard(&again), as_heard(&live));
    assert_eq!(again.last().unwrap().data["content"], live.last().unwrap().data["content"]);
}

#[tokio::test]
async fn whoever_knows_the_last_event_is_told_to_ask_no_more() {
    let app = TestApp::start().await;
    let streamed = app.run(json!({"message": "hi", "session_id": "s", "stream": true})).await.events();
    let plain = app.say("s", "hi").await["run_id"].as_str().unwrap().to_owned();
    let told = events_after(&app, &plain, None).await;
    for (run_id, last) in [(streamed[0].data["run_id"].as_str().unwrap(), streamed.len() - 1), (&plain, told.len() - 1)]
    {
        let path = format!("/agents/assistant/runs/{run_id}/events");
        assert_eq!(events_after(&app, run_id, Some(last - 1)).await.len(), 1);
        for known in [last, last + 1, i32::MAX as usize] {
            let asked = app.request(Method::GET, &path).header("last-event-id", known.to_string());
            let answer = app.send(asked).await;
            assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""), "after {known} of {run_id}");
            assert_eq!(app.get(&format!("{path}?last_event_id={known}")).await.status, 204);
        }
        // When its events have expired, there is nothing new either.
        app.execute("delete from run_events").await;
        let asked = app.request(Method::GET, &path).header("last-event-id", last.to_string());
        assert_eq!(app.send(asked).await.status, 204);
    }
}

#[tokio::test]
async fn a_run_that_was_not_streamed_is_told_by_its_outcome() {
    let app = TestApp::start().await;
    let run = app.say("s", "hi").await;
    let events = events_after(&app, run["run_id"].as_str().unwrap(), None).await;
    let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["RunStarted", "RunContent", "RunContentCompleted", "RunCompleted"]);
    assert_eq!(events[3].data["content"], "Hello! You said: hi");
    assert_eq!(events[3].data["metrics"]["details"], run["metrics"]["details"]);
}

fn frames(answer: &Answer) -> Vec<(String, Value)> {
    let blocks = answer.text.split("\n\n").filter(|block| block.contains("data: "));
    blocks
        .map(|block| {
            let field = |name| block.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            (field("event: ").to_owned(), serde_json::from_str(field("data: ")).unwrap())
        })
        .collect()
}

#[tokio::test]
async fn the_wires_resume_says_where_it_begins() {
    let app = TestApp::start().await;
    app.model.then(slow_pieces(Duration::from_millis(30), &"word ".repeat(20)));
    let accepted = app.run(json!({"message": "hi", "session_id": "s", "background": true})).await.expect(202);
    let path = format!("/agents/assistant/runs/{}/resume", accepted["run_id"].as_str().unwrap());
    while app.model.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let live = frames(&app.post_form(&path, &[("last_event_index", "0"), ("session_id", "s")]).await);
    assert_eq!((live[0].0.as_str(), &live[0].1["status"]), ("catch_up", &json!("running")));
    let missed = usize::try_from(live[0].1["missed_events"].as_u64().unwrap()).unwrap();
    assert_eq!(live[1 + missed].0, "subscribed");
    assert_eq!(live.last().unwrap().0, "RunCompleted");
    let indexes: Vec<_> = live.iter().filter_map(|(_, data)| data["event_index"].as_u64()).collect();
    assert_eq!(indexes, (1..=indexes.len() as u64).collect::<Vec<_>>());

    let replay = frames(&app.post_form(&path, &[("last_event_index", "3")]).await);
    assert_eq!((replay[0].0.as_str(), &replay[0].1["status"]), ("replay", &json!("COMPLETED")));
    assert_eq!(replay[1].1["event_index"], 4);
    assert_eq!(replay.last().unwrap().0, "RunCompleted");
}

#[tokio::test]
async fn what_cannot_be_resumed_is_said() {
    let app = TestApp::start().await;
    let unknown = "/agents/assistant/runs/01a206c1-4b42-72a9-b242-a016793c2551";
    assert_eq!(frames(&app.post_form(&format!("{unknown}/resume"), &[]).await)[0].0, "error");
    app.post(&format!("{unknown}/resume"), json!({})).await.expect_problem(404);
    app.get(&format!("{unknown}/events")).await.expect_problem(404);
    let run = app.run(json!({"message": "hi", "user_id": "alice"})).await.expect(200);
    let path = format!("/agents/assistant/runs/{}", run["run_id"].as_str().unwrap());
    app.get(&format!("{path}/events?user_id=mallory")).await.expect_problem(404);
    app.post(&format!("{path}/resume"), json!({"user_id": "mallory"})).await.expect_problem(404);
    app.post(&format!("{path}/resume"), json!({"last_event_index": "x"})).await.expect_problem(422);
    app.post(&format!("{path}/resume"), json!({"last_event_index": -7})).await.expect_problem(422);
    let request = app.request(Method::GET, &format!("{path}/events")).header("last-event-id", "x");
    app.send(request).await.expect_problem(422);
}

#[tokio::test]
async fn events_expire() {
    let app = TestApp::start().await;
    app.run(json!({"message": "hi", "session_id": "s", "stream": true})).await.events();
    app.execute("update run_events set created_at = now() - interval '2 days'").await;
    let mut tx = colloquy::testing::database::begin(&app.app.db).await.unwrap();
    colloquy::testing::jobs::enqueue(&app.app, &mut tx, &colloquy::testing::jobs::Job::CleanUp).await.unwrap();
    tx.commit().await.unwrap();
    app.do_jobs().await;
    let rows: i64 = sqlx::query_scalar("select count(*) from run_events").fetch_one(app.db()).await.unwrap();
    assert_eq!(rows, 0);
}
