//! `GET /sessions`.

use serde_json::{Value, json};

use super::{column, create, ids, list};
use crate::support::TestApp;

/// The ids that a query finds, in the order of their letters.
async fn found(app: &TestApp, query: &str) -> Vec<String> {
    let page = list(app, query).await;
    let mut found: Vec<String> = ids(&page).into_iter().map(ToOwned::to_owned).collect();
    assert_eq!(page["meta"]["total_count"], found.len(), "{page}");
    found.sort();
    found
}

/// A session for each name, with the ids `s-1`, `s-2` and so on, the later one created later.
async fn create_named(app: &TestApp, names: &[&str]) {
    for (name, number) in names.iter().zip(1..) {
        create(app, json!({"session_id": format!("s-{number}"), "session_name": name})).await;
    }
}

fn query(name: &str, value: &str) -> String {
    serde_urlencoded::to_string([(name, value)]).expect("a query")
}

#[tokio::test]
async fn filters_by_user_type_and_component_narrow_the_list_together() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "a1", "user_id": "alice", "agent_id": "assistant"})).await;
    create(&app, json!({"session_id": "a2", "user_id": "alice", "agent_id": "other"})).await;
    create(&app, json!({"session_id": "b1", "user_id": "bob", "agent_id": "assistant"})).await;
    let team = json!({"session_id": "t1", "user_id": "alice", "team_id": "assistant"});
    app.post("/sessions?type=team", team).await.expect(201);
    app.post("/sessions?type=workflow", json!({"session_id": "w1", "workflow_id": "publish"})).await.expect(201);

    assert_eq!(found(&app, "").await, ["a1", "a2", "b1", "t1", "w1"]);
    assert_eq!(found(&app, "user_id=alice").await, ["a1", "a2", "t1"]);
    assert_eq!(found(&app, "type=agent").await, ["a1", "a2", "b1"]);
    assert_eq!(found(&app, "type=workflow").await, ["w1"]);
    assert_eq!(found(&app, "component_id=assistant").await, ["a1", "b1", "t1"]);
    assert_eq!(found(&app, "user_id=alice&type=agent&component_id=assistant").await, ["a1"]);
    assert_eq!(found(&app, "user_id=nobody").await, [""; 0]);
}

#[tokio::test]
async fn a_name_is_found_by_any_part_of_it_in_any_case() {
    let app = TestApp::start().await;
    create_named(&app, &["Travel to Rome", "TRAVEL budget", "Recipes", "Ärger im Büro"]).await;
    create(&app, json!({"session_id": "nameless"})).await;
    assert_eq!(found(&app, "session_name=travel").await, ["s-1", "s-2"]);
    assert_eq!(found(&app, "session_name=ROME").await, ["s-1"]);
    assert_eq!(found(&app, "session_name=cip").await, ["s-3"]);
    assert_eq!(found(&app, &query("session_name", "Büro")).await, ["s-4"]);
    assert_eq!(found(&app, "session_name=nothing").await, [""; 0]);
}

#[tokio::test]
async fn wildcards_in_a_name_are_ordinary_characters() {
    let app = TestApp::start().await;
    create_named(&app, &["100% sure", "100 percent", "snake_case", "snake case", r"back\slash"]).await;
    assert_eq!(found(&app, &query("session_name", "%")).await, ["s-1"]);
    assert_eq!(found(&app, &query("session_name", "0%")).await, ["s-1"]);
    assert_eq!(found(&app, &query("session_name", "_")).await, ["s-3"]);
    assert_eq!(found(&app, &query("session_name", r"\")).await, ["s-5"]);
    assert_eq!(found(&app, &query("session_name", r"k\s")).await, ["s-5"]);
}

#[tokio::test]
async fn a_session_that_was_named_by_its_first_message_is_found_by_that_name() {
    let app = TestApp::start().await;
    app.say("s-1", "Plan a trip to Rome").await;
    assert_eq!(found(&app, "session_name=trip").await, ["s-1"]);
}

#[tokio::test]
async fn parameters_without_a_value_count_as_left_out() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "a", "user_id": "alice"})).await;
    create(&app, json!({"session_id": "b"})).await;
    let empty = "type=&component_id=&session_name=&db_id=&table=";
    assert_eq!(found(&app, empty).await, ["a", "b"]);
}

#[tokio::test]
async fn an_empty_user_is_refused_rather_than_everybody() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "a", "user_id": "alice"})).await;
    for path in ["/sessions?user_id=", "/sessions/a?user_id=", "/sessions/a/runs?user_id="] {
        let problem = app.get(path).await.expect_problem(422);
        assert!(problem["detail"].as_str().unwrap().starts_with("user_id is empty"), "{problem}");
    }
    app.delete("/sessions/a?user_id=").await.expect_problem(422);
    app.get("/sessions/a").await.expect(200);
}

#[tokio::test]
async fn a_trailing_slash_changes_nothing() {
    let app = TestApp::start().await;
    create(&app, json!({"session_id": "a", "user_id": "alice"})).await;
    create(&app, json!({"session_id": "b"})).await;
    let page = app.get("/sessions/?user_id=alice").await.expect(200);
    assert_eq!(ids(&page), ["a"]);
}

#[tokio::test]
async fn pages_come_with_totals() {
    let app = TestApp::start().await;
    create_named(&app, &["1", "2", "3", "4", "5"]).await;
    for (query, expected, pages) in [
        ("limit=2", vec!["s-5", "s-4"], 3),
        ("limit=2&page=2", vec!["s-3", "s-2"], 3),
        ("limit=2&page=3", vec!["s-1"], 3),
        ("limit=2&page=4", vec![], 3),
        ("limit=2&page=4294967295", vec![], 3),
        ("limit=5", vec!["s-5", "s-4", "s-3", "s-2", "s-1"], 1),
        ("", vec!["s-5", "s-4", "s-3", "s-2", "s-1"], 1),
    ] {
        let page = list(&app, query).await;
        assert_eq!(ids(&page), expected, "{query}");
        assert_eq!((&page["meta"]["total_count"], &page["meta"]["total_pages"]), (&json!(5), &json!(pages)));
    }
    let meta = &list(&app, "limit=2&page=3").await["meta"];
    assert_eq!((&meta["page"], &meta["limit"]), (&json!(3), &json!(2)));
    assert!(meta["search_time_ms"].is_number());
    let defaults = &list(&app, "user_id=nobody").await["meta"];
    assert_eq!((&defaults["page"], &defaults["limit"], &defaults["total_pages"]), (&json!(1), &json!(20), &json!(0)));
}

#[tokio::test]
async fn each_sort_field_sorts_both_ways() {
    let app = TestApp::start().await;
    create_named(&app, &["banana", "cherry", "apple"]).await;
    app.execute(
        "update sessions set updated_at = case session_id when 's-1' then now() + interval '3 h'
             when 's-2' then now() + interval '1 h' else now() + interval '2 h' end",
    )
    .await;
    for (sort_by, ascending) in [
        ("created_at", ["s-1", "s-2", "s-3"]),
        ("updated_at", ["s-2", "s-3", "s-1"]),
        ("session_name", ["s-3", "s-1", "s-2"]),
    ] {
        let up = list(&app, &format!("sort_by={sort_by}&sort_order=asc")).await;
        assert_eq!(ids(&up), ascending, "{sort_by}");
        let down = list(&app, &format!("sort_by={sort_by}&sort_order=desc")).await;
        let descending: Vec<_> = ascending.into_iter().rev().collect();
        assert_eq!(ids(&down), descending, "{sort_by}");
        assert_eq!(ids(&list(&app, &format!("sort_by={sort_by}")).await), descending, "descending by default");
    }
    assert_eq!(ids(&list(&app, "").await), ["s-3", "s-2", "s-1"], "by creation by default");
}

#[tokio::test]
async fn the_order_is_total_when_all_times_and_names_are_equal() {
    let app = TestApp::start().await;
    create_named(&app, &["same"; 7]).await;
    app.execute("update sessions set created_at = timestamptz '2026-01-01Z', updated_at = timestamptz '2026-01-01Z'")
        .await;
    for sort_by in ["created_at", "updated_at", "session_name"] {
        for (order, expected) in [("asc", [1, 2, 3, 4, 5, 6, 7]), ("desc", [7, 6, 5, 4, 3, 2, 1])] {
            let mut seen = Vec::new();
            for page in 1..=4 {
                let page = list(&app, &format!("sort_by={sort_by}&sort_order={order}&limit=2&page={page}")).await;
                seen.extend(ids(&page).into_iter().map(ToOwned::to_owned));
            }
            assert_eq!(seen, expected.map(|number| format!("s-{number}")), "{sort_by} {order}");
        }
    }
}

#[tokio::test]
async fn a_list_counts_what_a_session_cost_in_all() {
    let app = TestApp::start().await;
    let runs: Vec<Value> = vec![app.say("s-1", "one two").await, app.say("s-1", "three").await];
    let tokens: i64 = runs.iter().map(|run| run["metrics"]["total_tokens"].as_i64().unwrap()).sum();
    let item = &list(&app, "").await["data"][0];
    assert_eq!((&item["total_tokens"], &item["metrics"]["total_tokens"]), (&json!(tokens), &json!(tokens)));
}

/// With the transcripts gone from where they are, a statement that so much as named their tables would fail.
#[tokio::test]
async fn a_list_never_reads_a_transcript() {
    let app = TestApp::start().await;
    app.say("s-1", "Hello").await;
    let transcripts = ["runs", "outcomes", "run_steps", "messages", "run_records"];
    for name in transcripts {
        app.execute(format!("alter table public.{name} rename to {name}_away")).await;
    }
    for sort_by in ["created_at", "updated_at", "session_name"] {
        for order in ["asc", "desc"] {
            let filters = "type=agent&component_id=assistant&session_name=hel";
            let page = list(&app, &format!("{filters}&sort_by={sort_by}&sort_order={order}")).await;
            assert_eq!(ids(&page), ["s-1"]);
            assert_eq!(column(&page["data"], "session_name"), ["Hello"]);
        }
    }
    for name in transcripts {
        app.execute(format!("alter table public.{name}_away rename to {name}")).await;
    }
    assert_eq!(super::get(&app, "s-1").await["messages"][0]["content"], "Hello");
}
