//! Runs that nobody waits for: accepted, polled, streamed, cancelled, told of.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    TestApp,
    scripted_model::{hang, reply, slow_pieces},
};

async fn start(app: &TestApp, body: Value) -> Value {
    let mut body = body;
    body["background"] = json!(true);
    let accepted = app.run(body).await.expect(202);
    assert_eq!(accepted["status"], "PENDING");
    accepted
}

fn path(accepted: &Value) -> String {
    format!("/agents/assistant/runs/{}", accepted["run_id"].as_str().unwrap())
}

/// Polls until the run has ended.
async fn outcome(app: &TestApp, accepted: &Value) -> Value {
    let polling = async {
        loop {
            let run = app.get(&path(accepted)).await.expect(200);
            if !["PENDING", "RUNNING"].contains(&run["status"].as_str().unwrap()) {
                return run;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), polling).await.expect("the run ends")
}

#[tokio::test]
async fn a_background_run_is_answered_at_once_and_polled() {
    let app = TestApp::start().await;
    app.model.then(slow_pieces(Duration::from_millis(50), "a b c"));
    let accepted = start(&app, json!({"message": "hi", "session_id": "s"})).await;
    assert_eq!((&accepted["session_id"], &accepted["seq"]), (&json!("s"), &json!(1)));
    let run = outcome(&app, &accepted).await;
    assert_eq!((&run["status"], &run["content"]), (&json!("COMPLETED"), &json!("a b c")));
    let queued: i64 = sqlx::query_scalar("select count(*) from open_runs").fetch_one(app.db()).await.unwrap();
    assert_eq!(queued, 0);
}

#[tokio::test]
async fn background_runs_wait_for_their_turn_and_keep_their_order() {
    let app = TestApp::with(|settings| settings.runs.background_concurrency = 2).await;
    app.model.otherwise(|request| {
        let said = request["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap().to_owned();
        slow_pieces(Duration::from_millis(5), &format!("heard {said}"))
    });
    let mut accepted = Vec::new();
    for number in 0..6 {
        let session = if number % 2 == 0 { "even" } else { "odd" };
        accepted.push(start(&app, json!({"message": number.to_string(), "session_id": session})).await);
    }
    let inline = app.say("even", "last").await;
    assert_eq!(inline["seq"], 4);
    for (number, accepted) in accepted.iter().enumerate() {
        let run = outcome(&app, accepted).await;
        assert_eq!(run["content"], format!("heard {number}"));
        assert_eq!(run["seq"], number / 2 + 1);
    }
}

#[tokio::test]
async fn a_background_run_can_be_streamed_from_its_beginning_with_indexes() {
    let app = TestApp::start().await;
    app.model.then(slow_pieces(Duration::from_millis(20), "a b c"));
    let body = json!({"message": "hi", "session_id": "s", "background": true, "stream": true});
    let events = app.run(body).await.events();
    assert_eq!(events[0].name, "RunStarted");
    assert_eq!(events.last().unwrap().data["content"], "a b c");
    for (index, event) in events.iter().enumerate() {
        assert_eq!((&event.data["event_index"], event.id.as_str()), (&json!(index), index.to_string().as_str()));
    }
}

#[tokio::test]
async fn a_run_can_be_cancelled_before_it_begins_and_while_it_runs() {
    let app = TestApp::with(|settings| settings.runs.background_concurrency = 1).await;
    app.model.then(slow_pieces(Duration::from_millis(20), &"word ".repeat(1000)));
    let first = start(&app, json!({"message": "first", "session_id": "s"})).await;
    let second = start(&app, json!({"message": "second", "session_id": "s"})).await;
    let elsewhere = start(&app, json!({"message": "third", "session_id": "t"})).await;
    for waiting in [&second, &elsewhere] {
        app.post(&format!("{}/cancel", path(waiting)), json!({})).await.expect(200);
        assert_eq!(outcome(&app, waiting).await["status"], "CANCELLED");
    }
    while app.model.requests().is_empty() || app.get(&path(&first)).await.expect(200)["status"] != "RUNNING" {}
    // So that there is something to keep.
    let partial = async {
        let events = app.request(reqwest::Method::GET, &format!("{}/events", path(&first))).send().await.unwrap();
        let mut stream = events.bytes_stream();
        let mut text = String::new();
        while !text.contains("\"content\":\"word") {
            text += &String::from_utf8_lossy(&futures::StreamExt::next(&mut stream).await.unwrap().unwrap());
        }
    };
    partial.await;
    app.post(&format!("{}/cancel", path(&first)), json!({})).await.expect(200);
    let cancelled = outcome(&app, &first).await;
    assert_eq!((&cancelled["status"], &cancelled["error"]["type"]), (&json!("CANCELLED"), &json!("cancelled")));
    assert!(cancelled["content"].as_str().unwrap().starts_with("word"), "{cancelled}");
    // Cancelled once more it is as it should be; the session goes on.
    app.post(&format!("{}/cancel", path(&first)), json!({})).await.expect(200);
    let next = app.say("s", "next").await;
    assert_eq!(next["seq"], 3);
    app.post(&format!("/agents/assistant/runs/{}/cancel", next["run_id"].as_str().unwrap()), json!({}))
        .await
        .expect_problem(409);
}

#[tokio::test]
async fn what_is_not_there_or_not_yours_cannot_be_cancelled() {
    let app = TestApp::start().await;
    let run = app.run(json!({"message": "hi", "user_id": "alice"})).await.expect(200);
    let path = format!("{}/cancel", path(&run));
    app.post(&format!("{path}?user_id=mallory"), json!({})).await.expect_problem(404);
    let unknown = "/agents/assistant/runs/01a206c1-4b42-72a9-b242-a016793c2551/cancel";
    for (path, status) in [(unknown, 404), (&path, 409)] {
        app.post(path, json!({})).await.expect_problem(status);
        app.send(app.request(reqwest::Method::POST, path)).await.expect_problem(status);
        // As AgentOS answers.
        assert_eq!(app.post_form(path, &[]).await.expect(200), json!({}));
        let multipart =
            app.request(reqwest::Method::POST, path).header("content-type", "multipart/form-data; boundary=x");
        assert_eq!(app.send(multipart.body("--x--\r\n")).await.expect(200), json!({}));
    }
}

#[tokio::test]
async fn the_end_of_a_background_run_is_told_by_a_signed_webhook() {
    let listener = crate::support::scripted_model::ScriptedModel::start().await;
    let app = TestApp::with(|settings| {
        settings.webhooks.secret = Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned().into());
        settings.webhooks.allow_private = true;
    })
    .await;
    let url = format!("{}/chat/completions", listener.base_url());
    let accepted = start(&app, json!({"message": "hi", "session_id": "s", "webhook_url": url})).await;
    outcome(&app, &accepted).await;
    let job = &app.get("/jobs").await.expect(200)["data"][0];
    assert_eq!((&job["kind"], &job["about"]), (&json!("deliver_webhook"), &accepted["run_id"]));
    app.do_jobs().await;
    let told = &listener.recorded()[0];
    assert_eq!(told.body["type"], "run.completed");
    assert_eq!(
        (&told.body["data"]["run_id"], &told.body["data"]["status"]),
        (&accepted["run_id"], &json!("COMPLETED"))
    );
    assert!(told.headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
    assert_eq!(app.get("/jobs").await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn a_webhook_is_refused_where_it_cannot_be_honoured() {
    let app = TestApp::with(|settings| {
        settings.webhooks.secret = Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned().into());
    })
    .await;
    for (background, url) in
        [(true, "http://127.0.0.1:1/"), (true, "file:///etc/passwd"), (false, "https://example.com/")]
    {
        let body = json!({"message": "hi", "background": background, "webhook_url": url});
        let problem = app.run(body).await.expect_problem(422);
        assert_eq!(problem["errors"][0]["pointer"], "/webhook_url");
    }
    // A name that leads to this machine is found out when it is called.
    let accepted = start(&app, json!({"message": "hi", "webhook_url": "http://localhost:1/"})).await;
    outcome(&app, &accepted).await;
    app.do_jobs().await;
    let job = &app.get("/jobs").await.expect(200)["data"][0];
    assert_eq!((&job["status"], &job["attempts"]), (&json!("waiting"), &json!(1)));
    assert!(job["last_error"].is_string(), "{job}");
}

#[tokio::test]
async fn a_run_of_a_dead_process_ends_or_goes_on() {
    let app = TestApp::with(|settings| settings.runs.lease = Duration::from_millis(500)).await;
    app.model.then(hang());
    let inline = app.run(json!({"message": "inline", "session_id": "i"}));
    let death = async {
        while app.model.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        app.model.then(reply("not heard by anybody"));
        // As if they were another process's, which has not been heard of since.
        app.execute(
            "insert into processes values ('01a206c1-4b42-72a9-b242-a016793c2551', now() - interval '1 s', now());
             update open_runs set process_id = '01a206c1-4b42-72a9-b242-a016793c2551'",
        )
        .await;
        loop {
            let runs = app.get("/sessions/i/runs").await.expect(200);
            if runs[0]["status"] == "ERROR" {
                return runs[0].clone();
            }
        }
    };
    let (answer, run) = tokio::join!(inline, tokio::time::timeout(Duration::from_secs(10), death));
    assert_eq!(run.expect("it is recovered")["error"]["type"], "interrupted");
    answer.expect_problem(503);
    assert_eq!(app.say("i", "again").await["seq"], 2);
}

#[tokio::test]
async fn a_background_run_that_a_shutdown_interrupts_goes_on_elsewhere() {
    let database = crate::support::test_database().await;
    let again = database.clone();
    let first = TestApp::on(database, |settings| settings.server.shutdown_grace = Duration::from_millis(50)).await;
    first.model.then(slow_pieces(Duration::from_millis(20), &"word ".repeat(1000)));
    let accepted = start(&first, json!({"message": "hi", "session_id": "s"})).await;
    while first.model.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    first.shut_down().await;
    let second = TestApp::on(again, |_| {}).await;
    let run = outcome(&second, &accepted).await;
    assert_eq!((&run["status"], &run["content"]), (&json!("COMPLETED"), &json!("Hello! You said: hi")));
    let events = second.get(&format!("{}/events", path(&accepted))).await.events();
    let began: Vec<_> = events.iter().map(|e| e.name.as_str()).filter(|name| !name.contains("Content")).collect();
    // What the first attempt said is void: who has it is told that the run began anew, and nobody else hears it.
    assert!(began.starts_with(&["RunContinued", "ModelRequestStarted", "ModelRequestCompleted"]), "{began:?}");
    // Whatever was heard of the first attempt, the second one is beyond it.
    let indexes: Vec<_> = events.iter().map(|event| event.id.parse::<u32>().unwrap()).collect();
    assert!(indexes.is_sorted() && indexes.last() > Some(&1_000_000), "{indexes:?}");
}

#[tokio::test]
async fn who_may_start_a_run_on_a_session_of_nobody_hears_of_it() {
    let app = TestApp::start().await;
    app.say("s", "hi").await;
    let body = json!({"message": "hi", "session_id": "s", "user_id": "alice", "background": true, "stream": true});
    assert_eq!(app.run(body).await.events().last().unwrap().name, "RunCompleted");
}

#[tokio::test]
async fn a_stream_of_a_run_that_waits_begins_when_the_run_does() {
    let app = TestApp::with(|settings| settings.runs.background_concurrency = 1).await;
    app.model.then(slow_pieces(Duration::from_millis(50), "a b c"));
    let first = start(&app, json!({"message": "first", "session_id": "s"})).await;
    let body = json!({"message": "second", "session_id": "t", "background": true, "stream": true});
    let events = app.run(body).await.events();
    assert_eq!(events.last().unwrap().data["content"], "Hello! You said: second");
    assert_eq!(outcome(&app, &first).await["status"], "COMPLETED");
}
