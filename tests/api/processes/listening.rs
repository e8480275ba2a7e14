//! A run's events in any process: while it runs, afterwards, and after a restart.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::{Site, ended, listen};
use crate::support::{Answer, scripted_model::slow_pieces};

#[tokio::test]
async fn every_process_tells_the_same_events_during_the_run_and_after_a_restart() {
    let site = Site::new().await;
    let (one, other) = site.serve_twice().await;
    site.model.then(slow_pieces(Duration::from_millis(20), &"word ".repeat(60)));
    let mut heard = listen(one.run_request(&json!({"message": "hi", "session_id": "s", "stream": true}))).await;
    let run_id = heard.next().await.unwrap().data["run_id"].as_str().unwrap().to_owned();
    let path = format!("/agents/assistant/runs/{run_id}");
    let events = format!("{path}/events");
    let (here, elsewhere, resumed) = tokio::join!(
        heard.hear_out(),
        async { listen(other.request(Method::GET, &events).header("last-event-id", "2")).await.hear_out().await },
        async {
            let request = other.request(Method::POST, &format!("{path}/resume"));
            let form = request.header("content-type", "application/x-www-form-urlencoded").body("last_event_index=-1");
            Answer::read(form.send().await.unwrap()).await
        },
    );
    let as_heard = |events: &[crate::support::ServerEvent]| -> Vec<_> {
        events.iter().map(|event| (event.id.clone(), event.name.clone())).collect()
    };
    assert_eq!(as_heard(&elsewhere), as_heard(&here)[3..]);
    assert_eq!(as_heard(&resumed.events()), as_heard(&here));
    assert!(resumed.text.starts_with("event: catch_up") && resumed.text.contains("event: subscribed"));
    ended(&other, "s").await;
    one.kill();
    other.kill();
    let again = site.serve().await;
    let after = listen(again.request(Method::GET, &events)).await.hear_out().await;
    assert_eq!(as_heard(&after), as_heard(&here));
    assert_eq!(after.last().unwrap().data["content"], here.last().unwrap().data["content"]);
    let replay = again.post(&format!("{path}/resume"), json!({"last_event_index": 60})).await;
    assert!(replay.text.starts_with("event: replay"), "{}", replay.text);
    assert_eq!(as_heard(&replay.events()), as_heard(&here)[61..]);
}

#[tokio::test]
async fn a_client_may_leave_at_every_event() {
    let site = Site::new().await;
    let server = site.serve().await;
    site.model.otherwise(|_| slow_pieces(Duration::from_millis(5), "a b c"));
    let whole = listen(server.run_request(&json!({"message": "hi", "session_id": "s", "stream": true}))).await;
    let count = whole.hear_out().await.len();
    for leave_after in 0..count {
        let body = json!({"message": "hi", "session_id": "s", "stream": true});
        let mut heard = listen(server.run_request(&body)).await;
        while heard.events.len() < leave_after {
            heard.next().await.unwrap();
        }
    }
    let last = server.run(json!({"message": "hi", "session_id": "s"})).await;
    assert_eq!(last["seq"], count + 2);
    for run in ended(&server, "s").await {
        assert_eq!((&run["status"], &run["content"]), (&json!("COMPLETED"), &json!("a b c")));
    }
}
