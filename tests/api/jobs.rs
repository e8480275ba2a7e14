//! Background work, driven by hand.

use colloquy::testing::model::TenantId;
use serde_json::json;

use crate::support::TestApp;

async fn enqueue(app: &TestApp, job: &colloquy::testing::jobs::Job) {
    let mut tx = colloquy::testing::database::begin(&app.app.db).await.unwrap();
    colloquy::testing::jobs::enqueue(&app.app, &mut tx, job).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_job_exists_when_its_transaction_has_committed_and_is_gone_when_it_is_done() {
    let app = TestApp::start().await;
    let mut tx = colloquy::testing::database::begin(&app.app.db).await.unwrap();
    colloquy::testing::jobs::enqueue(&app.app, &mut tx, &colloquy::testing::jobs::Job::CleanUp).await.unwrap();
    assert_eq!(app.get("/jobs").await.expect(200)["data"], json!([]));
    tx.commit().await.unwrap();
    // Another one with the same key is the same one.
    enqueue(&app, &colloquy::testing::jobs::Job::CleanUp).await;
    let jobs = app.get("/jobs?status=waiting").await.expect(200);
    assert_eq!(jobs["data"].as_array().unwrap().len(), 1, "{jobs}");
    assert_eq!((&jobs["data"][0]["kind"], &jobs["data"][0]["attempts"]), (&json!("clean_up"), &json!(0)));
    app.do_jobs().await;
    assert_eq!(app.get("/jobs").await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn a_job_that_fails_again_and_again_stays_with_its_error_until_it_is_retried() {
    let app = TestApp::start().await;
    enqueue(&app, &colloquy::testing::jobs::Job::CleanUp).await;
    app.execute("alter table public.run_events rename to hidden").await;
    for _ in 0..3 {
        app.do_jobs().await;
        app.execute("update graphile_worker._private_jobs set run_at = now()").await;
    }
    app.do_jobs().await;
    let failed = app.get("/jobs?status=failed").await.expect(200);
    let job = &failed["data"][0];
    assert_eq!((&job["attempts"], &job["max_attempts"]), (&json!(3), &json!(3)));
    assert!(job["last_error"].as_str().unwrap().contains("run_events"), "{job}");
    app.execute("alter table public.hidden rename to run_events").await;
    let retried = app.post(&format!("/jobs/{}/retry", job["job_id"]), json!({})).await.expect(200);
    assert_eq!((&retried["status"], &retried["attempts"]), (&json!("waiting"), &json!(0)));
    app.do_jobs().await;
    assert_eq!(app.get("/jobs").await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn a_job_that_was_replaced_while_a_process_died_over_it_is_not_shown_as_failed() {
    let app = TestApp::start().await;
    let (lock, recover) = (
        "update graphile_worker._private_jobs set attempts = 1, locked_at = now(), locked_by = 'gone'",
        "select graphile_worker.recover_dead_worker_jobs(array['gone'])",
    );
    enqueue(&app, &colloquy::testing::jobs::Job::CleanUp).await;
    app.execute(lock).await;
    enqueue(&app, &colloquy::testing::jobs::Job::CleanUp).await;
    app.execute(recover).await;
    let jobs = app.get("/jobs").await.expect(200);
    assert_eq!(jobs["data"].as_array().unwrap().len(), 1, "{jobs}");
    assert_eq!((&jobs["data"][0]["status"], &jobs["data"][0]["attempts"]), (&json!("waiting"), &json!(0)));
    enqueue(&app, &colloquy::testing::jobs::Job::TidyQueue).await;
    app.do_jobs().await;
    assert_eq!(app.count_jobs().await, 0);
}

#[tokio::test]
async fn jobs_that_are_not_there_cannot_be_retried() {
    let app = TestApp::start().await;
    app.post("/jobs/7/retry", json!({})).await.expect_problem(404);
    app.post("/jobs/x/retry", json!({})).await.expect_problem(404);
    app.get("/jobs?status=lost").await.expect_problem(422);
    app.get("/jobs?limit=0").await.expect_problem(422);
}

#[tokio::test]
async fn a_job_of_a_kind_that_this_build_does_not_know_is_left_to_those_who_know_it() {
    let app = TestApp::start().await;
    for (key, payload) in [
        ("paint:1", json!({"kind": "paint", "tenant_id": "default", "user_id": "alice", "run_id": "of another form"})),
        ("odd:1", json!([1, 2])),
        ("webhook:1", json!({"kind": "deliver_webhook", "to": "the moon"})),
    ] {
        let add = "select from graphile_worker.add_job('colloquy', $1::json, max_attempts => 2, job_key => $2)";
        sqlx::query(add).bind(&payload).bind(key).execute(app.db()).await.unwrap();
    }
    for _ in 0..4 {
        app.do_jobs().await;
        app.do_jobs().await;
        app.execute("update graphile_worker._private_jobs set run_at = now()").await;
    }
    let jobs = app.get("/jobs").await.expect(200);
    let jobs = jobs["data"].as_array().unwrap();
    let kinds: Vec<&str> = jobs.iter().map(|job| job["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["deliver_webhook", "unknown", "paint"]);
    assert_eq!(jobs[2]["about"], "of another form");
    for job in jobs {
        assert_eq!((&job["status"], &job["attempts"]), (&json!("waiting"), &json!(0)), "{job}");
        let error = job["last_error"].as_str().unwrap();
        assert!(error.contains("newer"), "{error}");
    }
    assert_eq!(app.delete("/users/alice").await.expect(200)["jobs"], 1);
    assert_eq!(app.count_jobs().await, 2);
}

#[tokio::test]
async fn many_jobs_of_one_user_do_not_stand_before_another_users() {
    let app = TestApp::start().await;
    app.execute(
        "insert into sessions (session_id, user_id)
         select 'flood-' || n, 'flood' from generate_series(1, 100) n
         union all select 'bob-' || n, 'bob' from generate_series(1, 2) n
         union all select 'nobody-' || n, null from generate_series(1, 2) n",
    )
    .await;
    let title = |session_id: String| colloquy::testing::jobs::Job::TitleSession {
        tenant_id: TenantId::DEFAULT,
        session_id: session_id.try_into().unwrap(),
        agent_id: "assistant".into(),
    };
    for number in 1..=100 {
        enqueue(&app, &title(format!("flood-{number}"))).await;
    }
    // Once more is the same job, at the place that it has.
    enqueue(&app, &title("flood-1".into())).await;
    for session in ["bob-1", "bob-2", "nobody-1", "nobody-2"] {
        enqueue(&app, &title(session.into())).await;
    }
    let learn = colloquy::testing::jobs::Job::Learn {
        tenant_id: TenantId::DEFAULT,
        user_id: "zoe".to_owned().try_into().unwrap(),
    };
    enqueue(&app, &learn).await;
    let order = "select coalesce(payload ->> 'session_id', payload ->> 'user_id')
                 from graphile_worker._private_jobs order by priority, run_at, id limit 7";
    let order: Vec<String> = sqlx::query_scalar(order).fetch_all(app.db()).await.unwrap();
    assert_eq!(order, ["flood-1", "bob-1", "nobody-1", "zoe", "flood-2", "bob-2", "nobody-2"]);
}

#[tokio::test]
async fn jobs_of_another_tenant_are_not_there() {
    let app = TestApp::start().await;
    let learn = |tenant_id: TenantId| colloquy::testing::jobs::Job::Learn {
        tenant_id,
        user_id: "zoe".to_owned().try_into().unwrap(),
    };
    enqueue(&app, &learn(TenantId::stored("other".into()))).await;
    let id = "select id from graphile_worker._private_jobs";
    let id: i64 = sqlx::query_scalar(id).fetch_one(app.db()).await.unwrap();
    assert_eq!(app.get("/jobs").await.expect(200)["data"], json!([]));
    app.post(&format!("/jobs/{id}/retry"), json!({})).await.expect_problem(404);
    assert_eq!(app.delete("/users/zoe").await.expect(200)["jobs"], 0);
    enqueue(&app, &learn(TenantId::DEFAULT)).await;
    assert_eq!(app.get("/jobs").await.expect(200)["data"].as_array().unwrap().len(), 1);
    assert_eq!(app.count_jobs().await, 2);
    assert_eq!(app.delete("/users/zoe").await.expect(200)["jobs"], 1);
}
