//! Cancelling by a process that does not execute the run.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Site, ended, listen};
use crate::support::scripted_model::slow_pieces;

#[tokio::test]
async fn a_cancel_reaches_the_process_that_executes_the_run() {
    let site = Site::new().await;
    let (one, other) = site.serve_twice().await;
    site.model.then(slow_pieces(Duration::from_millis(20), &"word ".repeat(1000)));
    let mut heard = listen(one.run_request(&json!({"message": "hi", "session_id": "s", "stream": true}))).await;
    let run_id = heard.next().await.unwrap().data["run_id"].as_str().unwrap().to_owned();
    while heard.events.len() < 5 {
        heard.next().await.unwrap();
    }
    let asked = Instant::now();
    other.post(&format!("/agents/assistant/runs/{run_id}/cancel"), json!({})).await.expect(200);
    let run = ended(&other, "s").await.remove(0);
    assert!(asked.elapsed() < Duration::from_millis(1500), "it took {:?}", asked.elapsed());
    assert_eq!(heard.hear_out().await.last().unwrap().name, "RunCancelled");
    assert_eq!(run["status"], "CANCELLED");
    assert!(run["content"].as_str().unwrap().starts_with("word "), "{run}");
    let next = one.run(json!({"message": "next", "session_id": "s"})).await;
    assert_eq!(next["seq"], 2);
}
