//! Rows that a newer build has written, while processes are replaced one by one.

use serde_json::json;

use crate::support::TestApp;

#[tokio::test]
async fn rows_with_words_of_a_newer_build_are_told_with_these_and_left_alone() {
    let app = TestApp::start().await;
    for (session, message) in [("s", "One"), ("s", "Two"), ("t", "Three")] {
        app.run(json!({"message": message, "session_id": session, "user_id": "alice"})).await.expect(200);
    }
    let memory = json!({"memory": "Alice likes tea", "user_id": "alice"});
    let memory_id = app.post("/memories", memory).await.expect(200)["memory_id"].as_str().unwrap().to_owned();
    for newer in [
        "alter type run_status add value 'PARKED'",
        "alter type message_role add value 'critic'",
        "alter type session_type add value 'swarm'",
        "alter type named_by add value 'robot'",
        "alter type memory_action add value 'doubt'",
    ] {
        app.execute(newer).await;
    }
    app.execute(
        "update outcomes set status = 'PARKED' where session_id = 's' and seq = 1;
         update outcomes set error = '{\"type\": \"struck\", \"message\": \"by lightning\"}',
             context = context || '{\"window\": \"by_meaning\"}'
         where session_id = 's' and seq = 2;
         update memory_events set action = 'doubt';
         insert into run_steps (session_id, seq, index, role, content) values ('s', 2, 2, 'critic', 'Hm.');
         update sessions set named_by = 'robot' where session_id = 's';
         update sessions set usage = usage || jsonb_build_object(E'musing\\np\\nm', '[1, 1, 2, 0, 0, 0]'::jsonb)
         where session_id = 's';
         update sessions set session_type = 'swarm' where session_id = 't'",
    )
    .await;
    let run_id: uuid::Uuid =
        sqlx::query_scalar("select run_id from run_records where status = 'PARKED'").fetch_one(app.db()).await.unwrap();
    for (path, told) in [
        ("/sessions".to_owned(), "swarm"),
        ("/sessions?user_id=alice&q=Three".to_owned(), "swarm"),
        ("/sessions/t".to_owned(), "swarm"),
        ("/sessions/s".to_owned(), "\"session_id\":\"s\""),
        ("/sessions/s/runs".to_owned(), "PARKED"),
        ("/sessions/s/runs".to_owned(), "critic"),
        ("/sessions/s/runs".to_owned(), "by lightning"),
        (format!("/memories/{memory_id}/history?user_id=alice"), "doubt"),
        ("/sessions/s/run-previews".to_owned(), "PARKED"),
        (format!("/sessions/s/runs/{run_id}"), "PARKED"),
        ("/agents/assistant/runs?session_id=s".to_owned(), "PARKED"),
        (format!("/agents/assistant/runs/{run_id}?user_id=alice"), "PARKED"),
        ("/sessions/s/messages".to_owned(), "critic"),
        ("/sessions/s/context".to_owned(), "Two"),
        ("/sessions/s/export".to_owned(), "\"end\""),
        ("/users/alice/export".to_owned(), "critic"),
    ] {
        let answer = app.get(&path).await;
        assert!(answer.status == 200 && answer.text.contains(told), "{path}: {answer:?}");
    }
    let found = app.post("/search", json!({"query": "Two", "user_id": "alice"})).await.expect(200);
    assert!(found.to_string().contains("Two"), "{found}");
    // What it means is known to the newer build alone.
    app.delete(&format!("/sessions/s/runs/{run_id}")).await.expect_problem(409);
    let cancel = format!("/agents/assistant/runs/{run_id}/cancel");
    let problem = app.post(&cancel, json!({})).await.expect_problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("PARKED"), "{problem}");
    let run = app.run(json!({"message": "Four", "session_id": "s", "user_id": "alice"})).await.expect(200);
    assert_eq!((&run["status"], &run["seq"]), (&json!("COMPLETED"), &json!(3)));
    let kept = "select count(*) from run_records r join messages m using (session_id, seq)
                where r.status = 'PARKED' or m.role = 'critic'";
    assert_eq!(sqlx::query_scalar::<_, i64>(kept).fetch_one(app.db()).await.unwrap(), 3);
}
