//! Background runs go on in another process.

use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;

use super::{PATIENCE, Site, ended, ids, in_background, listen, said, until};
use crate::support::scripted_model::{hang, reply, slow_pieces};

#[tokio::test]
async fn a_stream_goes_on_elsewhere_when_its_process_is_killed() {
    let site = Site::new().await;
    let (doomed, survivor) = site.serve_twice().await;
    let answer = "word ".repeat(100);
    site.model.then(slow_pieces(Duration::from_millis(20), &answer)).then(reply("said anew"));
    let body = json!({"message": "hi", "session_id": "s", "background": true, "stream": true});
    let mut heard = listen(doomed.run_request(&body)).await;
    let run_id = heard.next().await.unwrap().data["run_id"].as_str().unwrap().to_owned();
    // Some of what was heard is stored by then, and some is not.
    while heard.events.len() < 40 {
        heard.next().await.unwrap();
    }
    doomed.kill();
    let before = heard.hear_out().await;
    assert!(ids(&before).iter().copied().eq(0..i32::try_from(before.len()).unwrap()));
    let last = &before.last().unwrap().id;
    let path = format!("/agents/assistant/runs/{run_id}/events");
    let rest = listen(survivor.request(Method::GET, &path).header("last-event-id", last)).await.hear_out().await;
    assert_eq!(rest[0].name, "RunContinued", "{rest:?}");
    assert!(ids(&rest)[0] > last.parse().unwrap() && ids(&rest).is_sorted());
    assert_eq!(rest.last().unwrap().name, "RunCompleted");
    assert_eq!(said(&rest), "said anew");
    let whole = listen(survivor.request(Method::GET, &path)).await.hear_out().await;
    assert!(
        whole.iter().map(|event| &event.id).rev().zip(rest.iter().map(|event| &event.id).rev()).all(|(a, b)| a == b)
    );
    assert!(answer.starts_with(&said(&whole).replace("said anew", "")));
    let run = &ended(&survivor, "s").await[0];
    assert_eq!((&run["status"], &run["content"]), (&json!("COMPLETED"), &json!("said anew")));
}

#[tokio::test]
async fn a_run_that_kills_its_processes_is_not_begun_for_ever() {
    let site = Site::new().await;
    let attempts = [("COLLOQUY_RUNS__MAX_ATTEMPTS", "2")];
    let first = site.serve_with(&attempts).await;
    site.model.otherwise(|_| hang());
    in_background(&first, "s").await;
    site.model_called(1).await;
    let second = site.serve_with(&attempts).await;
    first.kill();
    site.model_called(2).await;
    let third = site.serve_with(&attempts).await;
    second.kill();
    let run = &ended(&third, "s").await[0];
    assert_eq!((&run["status"], &run["error"]["type"]), (&json!("ERROR"), &json!("interrupted")));
    assert!(run["error"]["message"].as_str().unwrap().contains("2 attempts"), "{run}");
    assert_eq!(site.model.requests().len(), 2);
}

#[tokio::test]
async fn a_background_run_goes_on_elsewhere_when_its_process_is_told_to_stop() {
    let site = Site::new().await;
    let (mut stopped, survivor) =
        tokio::join!(site.serve_with(&[("COLLOQUY_SERVER__SHUTDOWN_GRACE", "100ms")]), site.serve());
    site.model.then(hang()).then(reply("by another"));
    in_background(&stopped, "s").await;
    site.model_called(1).await;
    stopped.process.signal(Signal::TERM);
    let run = &ended(&survivor, "s").await[0];
    assert_eq!((&run["status"], &run["content"]), (&json!("COMPLETED"), &json!("by another")), "{run}");
    let stopping = tokio::task::spawn_blocking(move || stopped.process.ends_well());
    assert!(tokio::time::timeout(PATIENCE, stopping).await.unwrap().unwrap());
    until("it is buried", async || site.count("select count(*) from processes").await == 1).await;
}

#[tokio::test]
async fn a_process_that_only_works_executes_the_runs_of_one_that_only_serves() {
    let site = Site::new().await;
    let server =
        site.serve_with(&[("COLLOQUY_RUNS__BACKGROUND_CONCURRENCY", "0"), ("COLLOQUY_JOBS__WORKERS", "0")]).await;
    let path = in_background(&server, "s").await;
    let body = json!({"message": "streamed", "session_id": "t", "background": true, "stream": true});
    let heard = listen(server.run_request(&body)).await;
    let _worker = site.work();
    let events = heard.hear_out().await;
    assert_eq!(said(&events), "Hello! You said: streamed", "{events:?}");
    until("the run has ended", async || server.get(&path).await.expect(200)["status"] == "COMPLETED").await;
    let inline = server.run(json!({"message": "inline", "session_id": "s"})).await;
    assert_eq!((&inline["status"], &inline["seq"]), (&json!("COMPLETED"), &json!(2)));
}
