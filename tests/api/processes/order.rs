//! One order of a session's runs, whichever process they were sent to.

use futures::future::join_all;
use serde_json::{Value, json};

use super::Site;

#[tokio::test]
async fn runs_of_one_session_sent_to_two_processes_follow_each_other() {
    let site = Site::new().await;
    let (one, other) = site.serve_twice().await;
    let runs = join_all((0..12).map(|number| {
        let server = if number % 2 == 0 { &one } else { &other };
        let message = format!("message {number}");
        server.run(json!({
            "message": message, "session_id": "s", "num_history_runs": 100, "session_state": {message.clone(): number},
        }))
    }))
    .await;
    let mut by_seq: Vec<_> = runs.iter().map(|run| (run["seq"].as_i64().expect("a number"), &run["content"])).collect();
    by_seq.sort_by_key(|(seq, _)| *seq);
    assert!(by_seq.iter().map(|(seq, _)| *seq).eq(1..=12), "{by_seq:?}");
    // Each prompt is the one before it, the answer to that, and the next message.
    let prompts: Vec<Vec<Value>> =
        site.model.requests().iter().map(|request| request["messages"].as_array().unwrap().clone()).collect();
    for (prompts, (_, answer)) in prompts.windows(2).zip(&by_seq) {
        let (earlier, later) = (&prompts[0], &prompts[1]);
        assert_eq!(later.len(), earlier.len() + 2);
        assert_eq!(later[..earlier.len()], earlier[..]);
        assert_eq!(&later[earlier.len()]["content"], *answer);
    }
    let session = other.get("/sessions/s").await.expect(200);
    assert_eq!(session["session_state"].as_object().unwrap().len(), 12, "{session}");
}
