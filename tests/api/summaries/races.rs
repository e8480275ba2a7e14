//! What happens to a conversation while a fold of it is written.

use std::sync::Arc;

use colloquy::testing::{
    app::App,
    model::{SessionId, TenantId},
};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{boundary, folds, is_fold, summarize_or_echo, summarizing_app, talk};
use crate::support::{
    TestApp,
    scripted_model::{Gate, echo, held},
};

/// Deletes runs as whoever deletes runs does: with the session's row locked, and what was derived from them.
pub(super) async fn delete_runs(app: &TestApp, session: &str, seqs: &[i64]) {
    let mut tx = colloquy::testing::database::begin(&app.app.db).await.unwrap();
    let lock = "select from seen.sessions where session_id = $1 for update";
    sqlx::query(lock).bind(session).execute(&mut *tx).await.unwrap();
    let delete = "delete from seen.runs where session_id = $1 and seq = any($2)";
    sqlx::query(delete).bind(session).bind(seqs).execute(&mut *tx).await.unwrap();
    let session = SessionId::try_from(session.to_owned()).unwrap();
    colloquy::testing::summaries::forget(&app.app, &mut tx, &TenantId::DEFAULT, &session, seqs).await.unwrap();
    tx.commit().await.unwrap();
}

/// Holds all folds until the gate opens; the receiver hears of each that is asked for.
fn hold_folds(app: &TestApp) -> (UnboundedReceiver<()>, Gate) {
    let (tell, asked) = unbounded_channel();
    let gate = Gate::closed();
    let held_by = gate.clone();
    app.model.otherwise(move |request| {
        let behaviour = summarize_or_echo(request);
        if !is_fold(request) {
            return behaviour;
        }
        // Nobody listens any more: it is held all the same.
        let _ = tell.send(());
        held(&held_by, behaviour)
    });
    (asked, gate)
}

async fn full_session() -> TestApp {
    let app = summarizing_app().await;
    for number in 1..=8 {
        talk(&app, "s", number).await;
    }
    app
}

async fn summary(app: &TestApp) -> String {
    app.get("/sessions/s").await.expect(200)["summary"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_run_that_is_deleted_under_a_fold_is_not_in_the_summary() {
    let app = full_session().await;
    let (mut asked, gate) = hold_folds(&app);
    let meanwhile = async {
        asked.recv().await.unwrap();
        delete_runs(&app, "s", &[2]).await;
        gate.open();
    };
    tokio::join!(app.do_jobs(), meanwhile);
    assert!(folds(&app).len() >= 2, "the fold was done anew");
    let summary = summary(&app).await;
    assert!(summary.starts_with("#1 #3 "), "{summary}");
}

#[tokio::test]
async fn a_session_that_is_deleted_under_a_fold_stays_deleted() {
    let app = full_session().await;
    let (mut asked, gate) = hold_folds(&app);
    let meanwhile = async {
        asked.recv().await.unwrap();
        app.delete("/sessions/s").await.expect(204);
        gate.open();
    };
    tokio::join!(app.do_jobs(), meanwhile);
    app.get("/sessions/s").await.expect_problem(404);
    assert_eq!(app.get("/jobs").await.expect(200)["data"], json!([]), "and there is nothing left to do");
}

#[tokio::test]
async fn of_two_folds_at_once_one_is_kept() {
    let app = full_session().await;
    let (mut asked, gate) = hold_folds(&app);
    let both = async {
        tokio::join!(
            app.post("/sessions/s/summarize?keep_runs=2", json!({})),
            app.post("/sessions/s/summarize?keep_runs=2", json!({})),
        )
    };
    let meanwhile = async {
        asked.recv().await.unwrap();
        asked.recv().await.unwrap();
        gate.open();
    };
    let ((one, other), ()) = tokio::join!(both, meanwhile);
    let folded = [one.expect(200), other.expect(200)].map(|answer| answer["folded_runs"].as_i64().unwrap());
    assert_eq!(folded.iter().sum::<i64>(), 6, "{folded:?}");
    assert_eq!(summary(&app).await, "#1 #2 #3 #4 #5 #6");
    let stored: i64 = sqlx::query_scalar("select sum(folded_runs) from summaries").fetch_one(app.db()).await.unwrap();
    assert_eq!(stored, 6, "each run has gone into one version");
}

#[tokio::test]
async fn runs_go_on_while_their_session_is_folded() {
    let app = full_session().await;
    let (mut asked, gate) = hold_folds(&app);
    let meanwhile = async {
        asked.recv().await.unwrap();
        let run = talk(&app, "s", 9).await;
        assert_eq!(run["context"]["summary_through"], json!(null));
        gate.open();
    };
    tokio::join!(app.do_jobs(), meanwhile);
    let (through, unfolded) = boundary(&app, "s").await;
    let verbatim: i64 = sqlx::query_scalar("select sum(tokens) from outcomes where seq > $1")
        .bind(through)
        .fetch_one(app.db())
        .await
        .unwrap();
    assert_eq!(unfolded, verbatim, "what was said meanwhile is counted");
}

#[tokio::test]
async fn deleting_a_run_forgets_every_summary_that_covers_it() {
    let app = summarizing_app().await;
    for number in 1..=6 {
        talk(&app, "s", number).await;
        if number % 2 == 0 {
            app.post("/sessions/s/summarize", json!({})).await.expect(200);
        }
    }
    delete_runs(&app, "s", &[3]).await;
    assert_eq!(boundary(&app, "s").await.0, 2, "the boundary steps back to the newest version without it");
    assert_eq!(summary(&app).await, "#1 #2");
    let context = app.get("/sessions/s/context").await.expect(200);
    assert_eq!(context["context"]["first_history_seq"], 4);
    app.do_jobs().await;
    let versions: Vec<i64> = sqlx::query_scalar("select through_seq from summaries").fetch_all(app.db()).await.unwrap();
    assert_eq!(versions, [2], "what is left is not enough for a fold");
    delete_runs(&app, "s", &[1]).await;
    assert_eq!(boundary(&app, "s").await.0, 0);
}

#[tokio::test]
async fn deleting_a_run_or_a_message_over_the_api_forgets_what_was_derived_from_it() {
    let app = summarizing_app().await;
    let first = talk(&app, "s", 1).await;
    app.post("/sessions/s/summarize", json!({})).await.expect(200);
    let second = talk(&app, "s", 2).await;
    app.post("/sessions/s/summarize", json!({})).await.expect(200);
    let message = second["messages"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    app.delete(&format!("/sessions/s/messages/{message}")).await.expect(204);
    assert_eq!(summary(&app).await, "#1");
    app.delete(&format!("/sessions/s/runs/{}", first["run_id"].as_str().unwrap())).await.expect(204);
    assert_eq!(summary(&app).await, "");
    assert_eq!(boundary(&app, "s").await.0, 0);
}

#[tokio::test]
async fn a_session_whose_agent_is_gone_is_left_as_it_is() {
    let app = full_session().await;
    app.model.otherwise(echo);
    let orphan: &Arc<App> = &app.app;
    colloquy::testing::summaries::fold_session(
        orphan,
        &TenantId::DEFAULT,
        &SessionId::try_from("s".to_owned()).unwrap(),
        "gone",
    )
    .await
    .unwrap();
    assert!(folds(&app).is_empty());
    assert_eq!(boundary(&app, "s").await.0, 0);
}
