//! Whose session a run may continue.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    TestApp,
    scripted_model::{Gate, hang, held, reply},
};

#[tokio::test]
async fn somebody_elses_session_is_not_there() {
    let app = TestApp::start().await;
    app.run(json!({"message": "mine", "session_id": "s", "user_id": "alice"})).await.expect(200);
    for stranger in
        [json!({"message": "hi", "session_id": "s", "user_id": "mallory"}), json!({"message": "hi", "session_id": "s"})]
    {
        let problem = app.run(stranger).await.expect_problem(404);
        assert!(problem["detail"].as_str().unwrap().starts_with("Session not found"), "{problem}");
    }
    assert_eq!(app.model.requests().len(), 1, "the model was not asked for a stranger");
    assert_eq!(app.get("/sessions/s").await.expect(200)["run_count"], 1);
}

#[tokio::test]
async fn a_session_of_nobody_may_be_continued_by_anybody() {
    let app = TestApp::start().await;
    app.say("s", "hi").await;
    let run = app.run(json!({"message": "hi", "session_id": "s", "user_id": "bob"})).await.expect(200);
    assert_eq!(run["seq"], 2);
    assert!(app.get("/sessions/s").await.expect(200).get("user_id").is_none(), "and stays nobody's");
}

#[tokio::test]
async fn somebody_elses_run_is_not_there() {
    let app = TestApp::start().await;
    let run = app.run(json!({"message": "mine", "session_id": "s", "user_id": "alice"})).await.expect(200);
    let path = format!("/agents/assistant/runs/{}", run["run_id"].as_str().unwrap());
    app.get(&format!("{path}?user_id=alice&session_id=s")).await.expect(200);
    app.get(&format!("{path}?user_id=mallory")).await.expect_problem(404);
    app.get(&format!("{path}?session_id=another")).await.expect_problem(404);
    app.get("/agents/assistant/runs?session_id=s&user_id=mallory").await.expect_problem(404);
}

#[tokio::test]
async fn a_run_is_shown_by_its_own_agent_only() {
    let app = TestApp::with(|settings| {
        let mut other = settings.agents[0].clone();
        other.id = "other".into();
        settings.agents.push(other);
    })
    .await;
    let run = app.run(json!({"message": "hi", "session_id": "s"})).await.expect(200);
    let run_id = run["run_id"].as_str().unwrap();
    app.get(&format!("/agents/other/runs/{run_id}")).await.expect_problem(404);
    app.post("/agents/other/runs", json!({"message": "me too", "session_id": "s"})).await.expect(200);
    assert_eq!(app.get("/agents/other/runs?session_id=s").await.expect(200).as_array().unwrap().len(), 1);
    assert_eq!(app.get("/sessions/s/runs").await.expect(200).as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_session_of_a_team_takes_no_run_of_an_agent() {
    let app = TestApp::start().await;
    app.post("/sessions?type=team", json!({"session_id": "t"})).await.expect(201);
    let problem = app.run(json!({"message": "hi", "session_id": "t"})).await.expect_problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("team session"), "{problem}");
}

#[tokio::test]
async fn an_agents_own_session_belongs_to_whoever_began_it() {
    let app = TestApp::with_agent(|agent| agent.session_id = Some("own".into())).await;
    let run = app.run(json!({"message": "hi", "user_id": "alice"})).await.expect(200);
    assert_eq!((&run["session_id"], &run["seq"]), (&json!("own"), &json!(1)));
    for stranger in [json!({"message": "hi", "user_id": "mallory"}), json!({"message": "hi"})] {
        let problem = app.run(stranger).await.expect_problem(404);
        assert!(problem["detail"].as_str().unwrap().contains("give a session_id"), "{problem}");
    }
    let elsewhere = json!({"message": "hi", "user_id": "mallory", "session_id": "another"});
    assert_eq!(app.run(elsewhere).await.expect(200)["seq"], 1);
    let background = app.run(json!({"message": "hi", "user_id": "alice", "background": true})).await.expect(202);
    assert_eq!((&background["session_id"], &background["seq"]), (&json!("own"), &json!(2)));
    app.delete("/sessions/own?user_id=alice").await.expect(204);
    assert_eq!(app.run(json!({"message": "hi", "user_id": "bob"})).await.expect(200)["seq"], 1, "it begins anew");
}

#[tokio::test]
async fn another_users_run_on_a_session_of_nobody_is_not_interrupted() {
    let app = TestApp::start().await;
    app.say("s", "hi").await;
    let gate = Gate::closed();
    app.model.then(held(&gate, reply("For Bob.")));
    let of_bob = app.run(json!({"message": "hi", "session_id": "s", "user_id": "bob"}));
    let interrupting = async {
        while app.model.requests().len() < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let of_alice =
            app.run(json!({"message": "mine", "session_id": "s", "user_id": "alice", "on_busy": "interrupt"}));
        let opening = async {
            // Until she waits, and then for as long as a cancel would take at most.
            while app.get("/sessions/s").await.expect(200)["run_count"] != 3 {}
            let looked = tokio::time::Instant::now();
            while looked.elapsed() < Duration::from_millis(700) {
                assert_eq!(app.get("/sessions/s/runs").await.expect(200)[1]["status"], "RUNNING");
            }
            gate.open();
        };
        tokio::join!(of_alice, opening).0
    };
    let (of_bob, of_alice) = tokio::join!(of_bob, interrupting);
    assert_eq!(of_bob.expect(200)["content"], "For Bob.");
    assert_eq!(of_alice.expect(200)["status"], "COMPLETED");
}

#[tokio::test]
async fn a_run_on_a_session_of_nobody_may_be_interrupted_by_its_own_user_or_where_it_is_nobodys() {
    let app = TestApp::start().await;
    for (of, by) in [(json!("bob"), json!("bob")), (json!(null), json!("bob")), (json!("bob"), json!(null))] {
        let session = format!("{of}-{by}");
        app.say(&session, "hi").await;
        let before = app.model.requests().len();
        app.model.then(hang());
        let running = app.run(json!({"message": "hi", "session_id": session, "user_id": of}));
        let interrupting = async {
            while app.model.requests().len() == before {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            app.run(json!({"message": "mine", "session_id": session, "user_id": by, "on_busy": "interrupt"})).await
        };
        let (running, interrupting) = tokio::join!(running, interrupting);
        assert_eq!(running.expect(200)["status"], "CANCELLED", "{session}");
        assert_eq!(interrupting.expect(200)["status"], "COMPLETED");
    }
}

#[tokio::test]
async fn a_run_on_a_session_of_nobody_is_there_for_who_asked_for_it_and_no_other_user() {
    let app = TestApp::start().await;
    app.say("s", "hi").await;
    let run = app.run(json!({"message": "mine", "session_id": "s", "user_id": "bob"})).await.expect(200);
    let path = format!("/agents/assistant/runs/{}", run["run_id"].as_str().unwrap());
    let read = app.get(&format!("{path}?user_id=bob&session_id=s")).await.expect(200);
    assert_eq!((&read["content"], read["messages"].as_array().unwrap().len()), (&run["content"], 2));
    assert_eq!(app.get(&format!("{path}/events?user_id=bob")).await.events().last().unwrap().name, "RunCompleted");
    app.get(&format!("{path}?user_id=alice")).await.expect_problem(404);
    app.get(&format!("{path}/events?user_id=alice")).await.expect_problem(404);
    app.post(&format!("{path}/cancel?user_id=alice"), json!({})).await.expect_problem(404);
    app.post(&format!("{path}/continue"), json!({"regenerate": true, "user_id": "alice"})).await.expect_problem(404);
    let again = app.post(&format!("{path}/continue"), json!({"regenerate": true, "user_id": "bob"})).await.expect(200);
    assert_eq!((&again["status"], &again["session_id"]), (&json!("COMPLETED"), &json!("s")));
    app.model.then(hang());
    let body = json!({"message": "hi", "session_id": "s", "user_id": "bob", "background": true});
    let running = app.run(body).await.expect(202);
    let path = format!("/agents/assistant/runs/{}", running["run_id"].as_str().unwrap());
    app.post(&format!("{path}/cancel?user_id=alice"), json!({})).await.expect_problem(404);
    app.post(&format!("{path}/cancel?user_id=bob"), json!({})).await.expect(200);
    while app.get(&format!("{path}?user_id=bob")).await.expect(200)["status"] != "CANCELLED" {}
    // The session itself stays nobody's: what others said there is not his to read.
    app.get("/sessions/s?user_id=bob").await.expect_problem(404);
}
