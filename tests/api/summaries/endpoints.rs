//! Summaries over the API.

use serde_json::json;

use super::{boundary, folds, summarizing, summarizing_app, talk};
use crate::support::{
    TestApp,
    scripted_model::{reply, status},
};

#[tokio::test]
async fn a_session_can_be_summarized_now() {
    let app = summarizing_app().await;
    for number in 1..=3 {
        talk(&app, "s", number).await;
    }
    let answer = app.post("/sessions/s/summarize", json!({})).await.expect(200);
    assert_eq!((&answer["status"], &answer["folded_runs"]), (&json!("summarized"), &json!(3)));
    assert_eq!(answer["through_seq"], 3);
    assert_eq!(answer["session_summary"]["summary"], "#1 #2 #3");
    assert!(answer["session_summary"]["updated_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(boundary(&app, "s").await, (3, 0));
    let again = app.post("/sessions/s/summarize", json!({})).await.expect(200);
    assert_eq!((&again["status"], &again["folded_runs"]), (&json!("nothing_to_fold"), &json!(0)));
    assert_eq!(again["session_summary"], answer["session_summary"]);
    assert_eq!(folds(&app).len(), 1);
}

#[tokio::test]
async fn the_newest_runs_can_be_kept_out_of_it() {
    let app = summarizing_app().await;
    for number in 1..=5 {
        talk(&app, "s", number).await;
    }
    let answer = app.post("/sessions/s/summarize?keep_runs=2", json!({})).await.expect(200);
    assert_eq!((&answer["status"], &answer["through_seq"]), (&json!("summarized"), &json!(3)));
    let nothing = app.post("/sessions/s/summarize?keep_runs=9", json!({})).await.expect(200);
    assert_eq!(nothing["status"], "nothing_to_fold");
}

#[tokio::test]
async fn a_session_without_runs_has_nothing_to_fold() {
    let app = summarizing_app().await;
    app.post("/sessions", json!({"session_id": "s", "agent_id": "assistant"})).await.expect(201);
    let answer = app.post("/sessions/s/summarize", json!({})).await.expect(200);
    assert_eq!(answer, json!({"status": "nothing_to_fold", "through_seq": 0, "folded_runs": 0}));
}

#[tokio::test]
async fn a_summary_stands_in_lists_and_details() {
    let app = summarizing_app().await;
    talk(&app, "s", 1).await;
    let without = app.get("/sessions/s").await.expect(200);
    assert!(without.get("session_summary").is_none() && without.get("summary").is_none(), "{without}");
    let version = without.clone();
    app.post("/sessions/s/summarize", json!({})).await.expect(200);
    let session = app.get("/sessions/s").await.expect(200);
    assert_eq!((&session["summary"], &session["session_summary"]["summary"]), (&json!("#1"), &json!("#1")));
    assert_eq!(session["session_summary"]["topics"], json!(["marks"]));
    assert_eq!(session["updated_at"], version["updated_at"], "nothing was said");
    let listed = &app.get("/sessions").await.expect(200)["data"][0];
    assert_eq!(listed["session_summary"], session["session_summary"]);
    assert_eq!(listed["summary"], "#1");
    talk(&app, "other", 2).await;
    for (has_summary, found) in [(true, "s"), (false, "other")] {
        let page = app.get(&format!("/sessions?has_summary={has_summary}")).await.expect(200);
        assert_eq!((&page["meta"]["total_count"], &page["data"][0]["session_id"]), (&json!(1), &json!(found)));
    }
}

#[tokio::test]
async fn every_version_can_be_read_in_pages() {
    let app = summarizing_app().await;
    for number in 1..=5 {
        talk(&app, "s", number).await;
        app.post("/sessions/s/summarize", json!({})).await.expect(200);
    }
    let first = app.get("/sessions/s/summaries?limit=3").await.expect(200);
    let through = |page: &serde_json::Value| -> Vec<i64> {
        page["data"].as_array().unwrap().iter().map(|version| version["through_seq"].as_i64().unwrap()).collect()
    };
    assert_eq!((through(&first), &first["next_before"]), (vec![5, 4, 3], &json!(3)));
    let second = app.get("/sessions/s/summaries?limit=3&before=3").await.expect(200);
    assert_eq!(through(&second), [2, 1]);
    assert!(second.get("next_before").is_none(), "{second}");
    assert_eq!((&second["data"][1]["summary"], &second["data"][1]["folded_runs"]), (&json!("#1"), &json!(1)));
}

#[tokio::test]
async fn what_is_somebody_elses_is_not_there() {
    let app = summarizing_app().await;
    app.run(json!({"message": "mine", "session_id": "s", "user_id": "alice"})).await.expect(200);
    for query in ["?user_id=bob", "?user_id="] {
        let status = if query.ends_with('=') { 422 } else { 404 };
        app.post(&format!("/sessions/s/summarize{query}"), json!({})).await.expect_problem(status);
        app.get(&format!("/sessions/s/summaries{query}")).await.expect_problem(status);
        app.get(&format!("/sessions/s/context{query}")).await.expect_problem(status);
    }
    assert!(folds(&app).is_empty());
    app.get("/sessions/none/summaries").await.expect_problem(404);
    app.post("/sessions/s/summarize?agent_id=nobody", json!({})).await.expect_problem(404);
}

#[tokio::test]
async fn parameters_that_cannot_be_are_refused() {
    let app = summarizing_app().await;
    talk(&app, "s", 1).await;
    for path in ["summarize?keep_runs=1001", "summarize?keep_runs=-1", "summarize?keep=1"] {
        app.post(&format!("/sessions/s/{path}"), json!({})).await.expect_problem(422);
    }
    for path in
        ["summaries?limit=0", "summaries?before=x", "summaries?page=1", "context?mesage=hi", "context?message=%00"]
    {
        app.get(&format!("/sessions/s/{path}")).await.expect_problem(422);
    }
    app.post("/sessions?type=team", json!({"session_id": "t"})).await.expect(201);
    app.post("/sessions/t/summarize", json!({})).await.expect_problem(422);
    let answer = app.post("/sessions/t/summarize?agent_id=assistant", json!({})).await.expect(200);
    assert_eq!(answer["status"], "nothing_to_fold");
}

#[tokio::test]
async fn a_model_that_fails_is_told_to_who_asked() {
    let app = TestApp::with_agent(summarizing).await;
    talk(&app, "s", 1).await;
    app.model.then(status(500, "down"));
    app.post("/sessions/s/summarize", json!({})).await.expect_problem(502);
    app.model.then(reply("no")).then(reply("no"));
    let problem = app.post("/sessions/s/summarize", json!({})).await.expect_problem(502);
    assert!(problem["detail"].as_str().unwrap().contains("session_summary.model"), "{problem}");
    assert_eq!(boundary(&app, "s").await.0, 0);
}

#[tokio::test]
async fn deleting_a_session_deletes_its_summaries() {
    let app = summarizing_app().await;
    talk(&app, "s", 1).await;
    app.post("/sessions/s/summarize", json!({})).await.expect(200);
    app.delete("/sessions/s").await.expect(204);
    let left: i64 = sqlx::query_scalar("select count(*) from summaries").fetch_one(app.db()).await.unwrap();
    assert_eq!(left, 0);
}
