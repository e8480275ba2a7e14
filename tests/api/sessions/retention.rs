//! Sessions that are removed by themselves.

use std::time::Duration;

use colloquy::testing::{
    config::RetentionSettings,
    sessions::retention::{Swept, sweep},
};
use serde_json::json;

use super::{create, hold_model, ids, list};
use crate::support::TestApp;

const DAY: Duration = Duration::from_hours(24);

async fn left(app: &TestApp) -> Vec<String> {
    ids(&list(app, "sort_order=asc&archived=all").await).into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn without_settings_everything_stays() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "old"})).await;
    app.execute("update sessions set updated_at = '1970-01-01'").await;
    assert_eq!(sweep(&app.app).await.unwrap(), Swept::default());
    assert_eq!(left(&app).await, ["old"]);
}

#[tokio::test]
async fn sessions_go_some_time_after_their_last_activity_and_pinned_ones_stay() {
    let app = TestApp::with(|settings| settings.retention.sessions_after = Some(DAY)).await;
    for id in ["new", "old", "pinned", "used"] {
        create(&app, json!({"session_id": id})).await;
    }
    app.patch("/sessions/pinned", json!({"pinned": true})).await.expect(200);
    app.execute("update sessions set updated_at = now() - interval '25 hours' where session_id <> 'new'").await;
    app.say("used", "Still here").await;
    assert_eq!(sweep(&app.app).await.unwrap(), Swept { expired: 0, inactive: 1 });
    assert_eq!(left(&app).await, ["new", "pinned", "used"]);
}

#[tokio::test]
async fn an_agent_has_its_own_retention() {
    let app = TestApp::with(|settings| {
        settings.retention.sessions_after = Some(DAY);
        let mut keeps = settings.agents[0].clone();
        keeps.id = "keeps".into();
        keeps.retention = Some(RetentionSettings::default());
        let mut hurries = keeps.clone();
        hurries.id = "hurries".into();
        hurries.retention = Some(RetentionSettings { sessions_after: Some(Duration::from_mins(1)) });
        settings.agents.extend([keeps, hurries]);
    })
    .await;
    for (id, agent) in [("a", "assistant"), ("k", "keeps"), ("h", "hurries")] {
        create(&app, json!({"session_id": id, "agent_id": agent})).await;
    }
    create(&app, json!({"session_id": "none"})).await;
    app.execute("update sessions set updated_at = now() - interval '1 hour'").await;
    assert_eq!(sweep(&app.app).await.unwrap().inactive, 1);
    app.execute("update sessions set updated_at = now() - interval '25 hours'").await;
    assert_eq!(sweep(&app.app).await.unwrap().inactive, 2);
    assert_eq!(left(&app).await, ["k"]);
}

#[tokio::test]
async fn a_session_goes_when_it_expires_by_a_job_of_the_clock() {
    let app = TestApp::start().await;
    for (id, expires_at) in [("past", json!(1)), ("future", json!(4_000_000_000_i64)), ("pinned", json!(1))] {
        create(&app, json!({"session_id": id})).await;
        app.patch(&format!("/sessions/{id}"), json!({"expires_at": expires_at})).await.expect(200);
    }
    app.patch("/sessions/pinned", json!({"pinned": true})).await.expect(200);
    assert_eq!(sweep(&app.app).await.unwrap(), Swept { expired: 1, inactive: 0 });
    assert_eq!(left(&app).await, ["future", "pinned"]);
}

#[tokio::test]
async fn many_sessions_go_in_several_batches() {
    let app = TestApp::start().await;
    app.execute("insert into sessions (session_id, expires_at) select 's-' || n, now() from generate_series(1, 250) n")
        .await;
    assert_eq!(sweep(&app.app).await.unwrap().expired, 250);
    assert!(left(&app).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_a_run_under_way_stays() {
    let app = TestApp::with(|settings| settings.retention.sessions_after = Some(DAY)).await;
    create(&app, json!({"session_id": "s-1"})).await;
    app.execute("update sessions set updated_at = '1970-01-01', expires_at = '1970-01-01'").await;
    let held = hold_model(&app);
    let (run, swept) =
        tokio::join!(app.run(json!({"message": "During", "session_id": "s-1"})), held.meanwhile(sweep(&app.app)));
    assert_eq!(swept.unwrap(), Swept::default());
    assert_eq!(run.expect(200)["status"], "COMPLETED");
}
