//! The dialogues by which agents' session state is usually explained, over HTTP, with a server on which nothing is set.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    server::{self, Server},
    test_database,
};

const PATIENCE: Duration = Duration::from_secs(30);
const MARK: &str = "mark@example.com";
const JOHN: &str = "john@example.com";

/// A server without a settings file, or with this one.
async fn serve(settings: &str) -> Server {
    let (home, database) = (tempfile::tempdir().unwrap(), test_database().await);
    if !settings.is_empty() {
        std::fs::write(home.path().join("colloquy.toml"), settings).unwrap();
    }
    tokio::task::spawn_blocking(move || {
        let mut command = server::command(&["serve"]);
        command.current_dir(home.path()).env("DATABASE_URL", database.url);
        Server::start(command)
    })
    .await
    .unwrap()
}

/// What the assistant answers to a run that completes.
async fn answer(server: &Server, run: Value) -> String {
    let run = server.run(run).await;
    assert_eq!(run["status"], "COMPLETED", "{run}");
    run["content"].as_str().unwrap().to_owned()
}

/// Waits until no background work is left.
async fn background_work(server: &Server) {
    let done = async {
        while server.get("/jobs").await.expect(200)["data"] != json!([]) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, done).await.expect("the background work ends");
}

/// The ids and counts of messages of a list, in its order.
async fn listed(server: &Server, query: &str) -> Vec<(String, i64)> {
    let page = server.get(&format!("/sessions?{query}")).await.expect(200);
    let item =
        |item: &Value| (item["session_id"].as_str().unwrap().to_owned(), item["message_count"].as_i64().unwrap());
    page["data"].as_array().unwrap().iter().map(item).collect()
}

/// The user's messages that the next run on this session would show to the model before its own.
async fn shown(server: &Server, session_id: &str, message: &str) -> Vec<String> {
    let view =
        server.get(&format!("/sessions/{session_id}/context?agent_id=assistant&message={message}")).await.expect(200);
    let messages = view["messages"].as_array().unwrap();
    let said = messages[..messages.len() - 1].iter().filter(|message| message["role"] == "user");
    said.map(|message| message["content"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_persistent_session_remembers_a_name() {
    let server = serve("").await;
    let say =
        async |message: &str| answer(&server, json!({"message": message, "session_id": "user_123_session"})).await;
    say("Hi, my name is Alice").await;
    assert_eq!(say("What's my name?").await, "Your name is Alice.");
}

#[tokio::test]
async fn an_agent_with_a_session_of_its_own_goes_on_there() {
    let server = serve("[[agents]]\nid = \"assistant\"\nsession_id = \"user_123_session\"\n").await;
    answer(&server, json!({"message": "Hi, my name is Alice"})).await;
    let run = server.run(json!({"message": "What's my name?"})).await;
    assert_eq!((&run["content"], &run["session_id"]), (&json!("Your name is Alice."), &json!("user_123_session")));
    let elsewhere = server.run(json!({"message": "What's my name?", "session_id": "another"})).await;
    assert_eq!((&elsewhere["session_id"], &elsewhere["seq"]), (&json!("another"), &json!(1)));
}

#[tokio::test]
async fn each_session_id_is_a_conversation() {
    let server = serve("").await;
    let session_id = "0b6f0c8e-8a4f-4a0e-9d0a-2c6d1f4f3b77";
    answer(&server, json!({"message": "Tell me about space", "session_id": session_id})).await;
    answer(&server, json!({"message": "Tell me about cooking", "session_id": "cooking"})).await;
    assert_eq!(shown(&server, session_id, "Tell%20me%20more").await, ["Tell me about space"]);
}

#[tokio::test]
async fn the_history_holds_a_favorite_color() {
    let server = serve("").await;
    let say = async |message: &str| answer(&server, json!({"message": message, "session_id": "chat_session"})).await;
    say("My favorite color is blue").await;
    assert_eq!(say("What's my favorite color?").await, "Your favorite color is blue.");
}

#[tokio::test]
async fn after_fifty_messages_a_summary_stands_in_place_of_the_history() {
    let server = serve("").await;
    for number in 0..50 {
        answer(&server, json!({"message": format!("Message {number}"), "session_id": "long_conversation"})).await;
    }
    background_work(&server).await;
    let session = server.get("/sessions/long_conversation").await.expect(200);
    assert!(!session["summary"].as_str().unwrap().is_empty(), "{session}");
    assert_eq!((&session["run_count"], &session["message_count"]), (&json!(50), &json!(100)));
    let context =
        server.run(json!({"message": "Message 50", "session_id": "long_conversation"})).await["context"].clone();
    let through = context["summary_through"].as_i64().unwrap();
    assert!(through >= 20, "{context}");
    assert_eq!((&context["window"], &context["first_history_seq"]), (&json!("after_summary"), &json!(through + 1)));
    assert_eq!(context["history_runs"], 50 - through);
}

#[tokio::test]
async fn sessions_are_retrieved_listed_renamed_and_deleted() {
    let server = serve("").await;
    for (session_id, message) in [("session_123", "One"), ("session_123", "Two"), ("session_124", "Three")] {
        answer(&server, json!({"message": message, "session_id": session_id, "user_id": MARK})).await;
    }
    let of_mark = format!("session_type=AGENT&user_id={MARK}");
    let session = server.get(&format!("/sessions/session_123?{of_mark}")).await.expect(200);
    assert_eq!((&session["session_id"], &session["user_id"]), (&json!("session_123"), &json!(MARK)));
    assert_eq!((&session["session_type"], &session["component_id"]), (&json!("agent"), &json!("assistant")));
    assert_eq!((session["messages"].as_array().unwrap().len(), &session["message_count"]), (4, &json!(4)));
    assert!(session["created_at"].is_string() && session["updated_at"].is_string(), "{session}");

    let newest_first = listed(&server, &format!("{of_mark}&limit=10&sort_by=created_at&sort_order=desc")).await;
    assert_eq!(newest_first, [("session_124".to_owned(), 2), ("session_123".to_owned(), 4)]);

    let path = format!("/sessions/session_123/rename?{of_mark}");
    let renamed = server.post(&path, json!({"session_name": "Product Discussion"})).await.expect(200);
    assert_eq!(renamed["session_name"], "Product Discussion");

    let delete = server.request(Method::DELETE, &format!("/sessions/session_123?user_id={MARK}"));
    assert_eq!(delete.send().await.unwrap().status(), 204);
    assert_eq!(listed(&server, &of_mark).await, [("session_124".to_owned(), 2)]);
}

#[tokio::test]
async fn several_users_have_several_sessions() {
    let server = serve("").await;
    for (message, user_id, session_id) in [
        ("My name is Mark and I like anime", MARK, "mark_session_1"),
        ("I'm going to the movies tonight", MARK, "mark_session_2"),
        ("Hi, my name is John", JOHN, "john_session_1"),
    ] {
        answer(&server, json!({"message": message, "user_id": user_id, "session_id": session_id})).await;
    }
    let suggest = |user_id: &str, session_id: &str| json!({"message": "What do you suggest I do this weekend?", "user_id": user_id, "session_id": session_id});
    let suggested = answer(&server, suggest(MARK, "mark_session_1")).await;
    assert!(suggested.contains("anime"), "{suggested}");
    let suggested = answer(&server, suggest(JOHN, "john_session_1")).await;
    assert!(!suggested.contains("anime"), "{suggested}");
    assert_eq!(server.run(suggest(JOHN, "mark_session_1")).await["status"], 404);
    let of_mark = listed(&server, &format!("user_id={MARK}")).await;
    assert_eq!(of_mark, [("mark_session_2".to_owned(), 2), ("mark_session_1".to_owned(), 4)]);
}

#[tokio::test]
async fn sessions_are_found_by_time_and_by_name() {
    let server = serve("").await;
    answer(&server, json!({"message": "Hello", "session_id": "session_123", "user_id": MARK})).await;
    server.post("/sessions/session_123/rename", json!({"session_name": "Product Discussion"})).await.expect(200);
    let now = colloquy::testing::clock::now().timestamp();
    let week = 7 * 24 * 60 * 60;
    for session_type in ["AGENT", "agent", "Agent"] {
        let query = format!("session_type={session_type}&user_id={MARK}");
        let since = |time: i64| format!("{query}&start_timestamp={time}&limit=20");
        assert_eq!(listed(&server, &since(now - week)).await.len(), 1);
        assert_eq!(listed(&server, &since(now + week)).await.len(), 0);
        assert_eq!(listed(&server, &format!("{query}&session_name=Product%20Discussion")).await.len(), 1);
        assert_eq!(listed(&server, &format!("{query}&session_name=Holidays")).await.len(), 0);
    }
    assert_eq!(listed(&server, &format!("type=TEAM&user_id={MARK}")).await.len(), 0);
    for unknown in ["session_type=SQUAD", "type=squad"] {
        let problem = server.get(&format!("/sessions?{unknown}")).await.expect_problem(422);
        assert!(problem["detail"].as_str().unwrap().contains("`agent`, `team`, `workflow`"), "{problem}");
    }
    server.get("/sessions?type=agent&session_type=team").await.expect_problem(422);
}

#[tokio::test]
async fn memories_outlast_the_session_without_any_switch() {
    let server = serve("").await;
    let love = json!({"message": "I love pizza, especially margherita", "user_id": MARK, "session_id": "chat_session"});
    answer(&server, love).await;
    background_work(&server).await;
    let ask = |more: Value| {
        let mut run = json!({"message": "What food do I like?", "user_id": MARK, "session_id": "new_session"});
        run.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        run
    };
    assert_eq!(answer(&server, ask(json!({}))).await, "You like pizza, especially margherita.");
    let of_john = answer(&server, json!({"message": "What food do I like?", "user_id": JOHN})).await;
    assert!(!of_john.contains("pizza"), "{of_john}");

    // The same session would still know what was answered.
    let without = json!({"session_id": "without", "add_memories_to_context": false});
    assert!(!answer(&server, ask(without)).await.contains("pizza"));
    let unlearned = json!({"message": "I love chess", "user_id": JOHN, "update_memory_on_run": false});
    answer(&server, unlearned).await;
    background_work(&server).await;
    assert_eq!(server.get(&format!("/memories?user_id={JOHN}")).await.expect(200)["data"], json!([]));
}
