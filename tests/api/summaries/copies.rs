//! Copies of sessions have the summaries of what they hold.

use serde_json::{Value, json};

use super::{boundary, folds, races::delete_runs, summarizing_app, talk};
use crate::support::TestApp;

/// A session of four runs with two versions of its summary, and its export.
async fn exported() -> (TestApp, String) {
    let app = summarizing_app().await;
    for number in 1..=4 {
        talk(&app, "s", number).await;
    }
    for keep in [3, 1] {
        app.post(&format!("/sessions/s/summarize?keep_runs={keep}"), json!({})).await.expect(200);
    }
    let exported = app.get("/sessions/s/export").await.text;
    (app, exported)
}

#[tokio::test]
async fn a_fork_has_the_summaries_of_what_it_holds() {
    let app = summarizing_app().await;
    let mut runs = Vec::new();
    for number in 1..=4 {
        runs.push(talk(&app, "s", number).await);
        app.post("/sessions/s/summarize", json!({})).await.expect(200);
    }
    delete_runs(&app, "s", &[1]).await;
    for number in [2, 3] {
        app.post(&format!("/sessions/s/summarize?keep_runs={}", 4 - number), json!({})).await.expect(200);
    }
    let body = json!({"session_id": "copy", "up_to_run_id": runs[3]["run_id"]});
    app.post("/sessions/s/fork", body).await.expect(201);
    assert_eq!(app.get("/sessions/copy").await.expect(200)["summary"], "#2 #3");
    let (through, unfolded) = boundary(&app, "copy").await;
    assert_eq!((through, unfolded > 0), (2, true), "its runs are numbered anew");
    let context = app.get("/sessions/copy/context").await.expect(200);
    assert_eq!(context["context"]["first_history_seq"], 3);
    let body = json!({"session_id": "early", "up_to_run_id": runs[1]["run_id"]});
    app.post("/sessions/s/fork", body).await.expect(201);
    assert_eq!(app.get("/sessions/early").await.expect(200)["summary"], "#2");
}

#[tokio::test]
async fn an_export_has_every_version_after_the_run_that_it_ends_with_and_is_read_in_again() {
    let (app, exported) = exported().await;
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    let usage = kinds.iter().filter(|kind| **kind == "usage").count();
    let run = ["run", "message", "message"];
    let expected = [&run[..], &["summary"], &run, &run, &["summary"], &run, &["end"]].concat();
    assert_eq!(kinds[1 + usage..], expected);
    let versions = app.get("/sessions/s/summaries").await.expect(200);
    let context = app.get("/sessions/s/context").await.expect(200);

    app.delete("/sessions/s").await.expect(204);
    app.import(&exported).await.expect(201);
    assert_eq!(app.get("/sessions/s/summaries").await.expect(200), versions);
    assert_eq!(app.get("/sessions/s/context").await.expect(200), context);
    assert_eq!(boundary(&app, "s").await.0, 3);
    assert_eq!(app.get("/sessions/s/export").await.text, exported);
    assert_eq!(app.import(&exported).await.expect(200)["created"], false);

    let before = folds(&app).len();
    app.post("/sessions/s/summarize", json!({})).await.expect(200);
    assert_eq!(app.get("/sessions/s").await.expect(200)["summary"], "#1 #2 #3 #4");
    let fold = folds(&app)[before].to_string();
    assert!(fold.contains("#1 #2 #3") && !fold.contains("<user>#3"), "it goes on from where it was: {fold}");
}

#[tokio::test]
async fn a_summary_out_of_place_is_refused() {
    let (app, exported) = exported().await;
    app.delete("/sessions/s").await.expect(204);
    let summary = exported.lines().find(|line| line.contains(r#""kind" : "summary""#)).unwrap();
    let end = exported.lines().last().unwrap();
    for wrong in [
        exported.replacen("\"through_seq\" : 1", "\"through_seq\" : 2", 1),
        exported.replacen(summary, &format!("{summary}\n{summary}"), 1),
        exported.replacen(end, &format!("{summary}\n{end}"), 1),
        exported.replacen("COMPLETED", "CANCELLED", 1),
    ] {
        let problem = app.import(&wrong).await.expect_problem(422);
        assert!(problem["detail"].as_str().unwrap().contains("a summary out of place"), "{problem}");
    }
    let late_message =
        format!("{summary}\n{}", exported.lines().find(|line| line.contains(r#""kind" : "message""#)).unwrap());
    let problem = app.import(&exported.replacen(summary, &late_message, 1)).await.expect_problem(422);
    assert!(problem["detail"].as_str().unwrap().contains("out of order"), "{problem}");
    app.get("/sessions/s").await.expect_problem(404);
}
