//! The filters of `GET /sessions`, alone and together.

use serde_json::{Value, json};

use super::{column, create, get, ids, list, rename};
use crate::support::TestApp;

/// Creates sessions `a`, `b`, … in this order, a minute apart.
async fn app_with(bodies: &[Value]) -> TestApp {
    let app = TestApp::start().await;
    for (body, id) in bodies.iter().zip('a'..) {
        let mut body = body.clone();
        body["session_id"] = json!(id.to_string());
        create(&app, body).await;
    }
    app.execute(
        "update sessions set created_at = to_timestamp(1000000 + 60 * (ascii(session_id) - 97)) + interval '0.5 s',
                             updated_at = to_timestamp(2000000 - 60 * (ascii(session_id) - 97)) + interval '0.5 s'",
    )
    .await;
    app
}

async fn assert_finds(app: &TestApp, query: &str, expected: &[&str]) {
    let mut query = query.to_owned();
    if !query.contains("sort_order") {
        query.push_str("&sort_order=asc");
    }
    let page = list(app, &query).await;
    assert_eq!(ids(&page), expected, "{query}");
    assert_eq!(page["meta"]["total_count"], expected.len(), "{query}");
}

#[tokio::test]
async fn times_are_unix_seconds_or_rfc_3339_and_inclusive_to_the_second() {
    let app = app_with(&[json!({}), json!({}), json!({})]).await;
    for (query, expected) in [
        ("start_timestamp=1000060", &["b", "c"][..]),
        ("start_timestamp=1000061", &["c"]),
        ("end_timestamp=1000060", &["a", "b"]),
        ("end_timestamp=1000059", &["a"]),
        ("start_timestamp=1970-01-12T13:47:40Z&end_timestamp=1970-01-12T14:47:40%2B01:00", &["b"]),
        ("end_timestamp=1970-01-12T13:47:40.4Z", &["a"]),
        ("end_timestamp=1970-01-12T13:47:40.5Z", &["a", "b"]),
        ("updated_after=1999940", &["a", "b"]),
        ("updated_before=1999940", &["b", "c"]),
        ("updated_after=1999940&updated_before=1999940", &["b"]),
        ("start_timestamp=1000060&updated_after=1999940", &["b"]),
        ("start_timestamp=&end_timestamp=", &["a", "b", "c"]),
    ] {
        assert_finds(&app, query, expected).await;
    }
}

#[tokio::test]
async fn metadata_is_compared_by_key_as_text_and_as_what_the_text_means_in_json() {
    let app = app_with(&[
        json!({"metadata": {"plan": "pro", "step": 1}}),
        json!({"metadata": {"plan": "pro", "step": "1"}}),
        json!({"metadata": {"plan": "free", "step": 10, "done": true, "a.b": "c"}}),
        json!({"metadata": {"plan": ["pro"], "nested": {"plan": "pro"}}}),
    ])
    .await;
    for (query, expected) in [
        ("metadata.plan=pro", &["a", "b"][..]),
        ("metadata[plan]=pro", &["a", "b"]),
        ("metadata%5Bplan%5D=free", &["c"]),
        ("metadata.step=1", &["a", "b"]),
        ("metadata.plan=pro&metadata.step=10", &[]),
        ("metadata.done=true", &["c"]),
        ("metadata.a.b=c", &["c"]),
        ("metadata.plan=PRO", &[]),
        ("metadata.plan=", &[]),
        ("metadata.%27%20or%20true--=1", &[]),
        ("metadata.plan=free&session_name=x", &[]),
    ] {
        assert_finds(&app, query, expected).await;
    }
}

#[tokio::test]
async fn archived_sessions_are_shown_when_they_are_asked_for() {
    let app = app_with(&[json!({}), json!({}), json!({})]).await;
    for (id, change) in [("a", json!({"archived": true})), ("b", json!({"pinned": true}))] {
        let changed = app.patch(&format!("/sessions/{id}"), change).await.expect(200);
        assert_eq!((&changed["archived"], &changed["pinned"]), (&json!(id == "a"), &json!(id == "b")));
    }
    for (query, expected) in [
        ("", &["b", "c"][..]),
        ("archived=false", &["b", "c"]),
        ("archived=true", &["a"]),
        ("archived=all", &["a", "b", "c"]),
        ("pinned=true", &["b"]),
        ("pinned=false", &["c"]),
        ("pinned=false&archived=all", &["a", "c"]),
    ] {
        assert_finds(&app, query, expected).await;
    }
    app.patch("/sessions/a", json!({"archived": false})).await.expect(200);
    assert_finds(&app, "", &["a", "b", "c"]).await;
}

#[tokio::test]
async fn words_are_found_in_messages_and_names_and_shown_where_they_are() {
    let app = TestApp::start().await;
    app.say("lisbon", "We fly to Lisbon & back, with the pink umbrella").await;
    app.say("porto", "We take the train to Porto").await;
    create(&app, json!({"session_id": "named", "session_name": "Umbrella Lisbon prices"})).await;
    for (query, expected) in [
        ("q=lisbon", &["lisbon", "named"][..]),
        ("q=UMBRELLA+lisbon", &["lisbon", "named"]),
        ("q=%22to+lisbon%22", &["lisbon"]),
        ("q=fly+or+train", &["lisbon", "porto"]),
        ("q=to+-porto", &["lisbon"]),
        ("q=of+-porto", &[]),
        ("q=fly+-porto", &["lisbon"]),
        ("q=umbr", &["lisbon", "named"]),
        ("q=%22umbrella+lisbon%22+or+train", &["porto", "named"]),
        ("q=prices+-%22lisbon+umbrella%22", &["named"]),
        ("q=madrid", &[]),
        ("q=lisbon&session_name=prices", &["named"]),
    ] {
        assert_finds(&app, query, expected).await;
    }
    let page = list(&app, "q=lisbon&sort_order=asc").await;
    let excerpt = page["data"][0]["excerpt"].as_str().unwrap();
    assert!(excerpt.contains("<mark>Lisbon</mark>"), "{excerpt}");
    assert!(excerpt.contains("&amp; back"), "what was said is no markup: {excerpt}");
    assert_eq!(page["data"][1]["excerpt"], "Umbrella <mark>Lisbon</mark> prices", "only the name has it");
    assert!(list(&app, "").await["data"][0].get("excerpt").is_none());
}

#[tokio::test]
async fn what_looks_like_markup_is_searched_and_shown_as_it_was_said() {
    let app = TestApp::start().await;
    app.say("code", "Use a Vec<String> where a<b && c>d holds, and &count; too").await;
    for q in ["string", "Vec%3CString%3E", "holds", "count", "--string+-+holds", &format!("{}string", "-".repeat(40))] {
        assert_finds(&app, &format!("q={q}"), &["code"]).await;
    }
    let excerpt = list(&app, "q=string").await["data"][0]["excerpt"].to_string();
    let expected = "Use a Vec&lt;<mark>String</mark>&gt; where a&lt;b &amp;&amp; c&gt;d holds, and &amp;count; too";
    assert!(excerpt.contains(expected), "{excerpt}");
}

#[tokio::test]
async fn scripts_without_spaces_are_searched_by_any_part() {
    let app = TestApp::start().await;
    app.say("zh", "今天我们去京都旅行").await;
    app.say("ja", "京都でラーメンを食べたい").await;
    for (q, expected) in [("京都", &["zh", "ja"][..]), ("都京", &[]), ("ラーメン", &["ja"]), ("京都+-旅行", &["ja"])]
    {
        assert_finds(&app, &format!("q={q}"), expected).await;
    }
    let excerpt = list(&app, "q=京都旅行").await["data"][0]["excerpt"].to_string();
    assert!(excerpt.contains("今天我们去<mark>京都旅行</mark>"), "{excerpt}");
}

#[tokio::test]
async fn a_search_that_only_leaves_out_is_refused() {
    let app = TestApp::start().await;
    app.say("a", "hello").await;
    for q in ["-hello", "-%22hello+you%22", "hello+or+-you"] {
        let refused = app.get(&format!("/sessions?q={q}")).await.expect(422);
        assert!(refused["detail"].to_string().contains("give a word to find"), "{refused}");
    }
}

#[tokio::test]
async fn a_search_finds_words_of_any_script_and_nobody_elses() {
    let app = TestApp::start().await;
    for (id, user, message) in [("ru", "alice", "Привет, Мир"), ("he", "alice", "שלום עולם"), ("bob", "bob", "мир")]
    {
        app.run(json!({"message": message, "session_id": id, "user_id": user})).await.expect(200);
    }
    assert_finds(&app, "user_id=alice&q=мир", &["ru"]).await;
    assert_finds(&app, "user_id=alice&q=עולם", &["he"]).await;
    assert_finds(&app, "user_id=bob&q=שלום", &[]).await;
}

#[tokio::test]
async fn all_filters_hold_together_in_every_order() {
    let app = app_with(&[
        json!({"user_id": "alice", "agent_id": "one", "session_name": "Alpha", "metadata": {"k": "v"}}),
        json!({"user_id": "alice", "agent_id": "one", "session_name": "alphabet", "metadata": {"k": "v"}}),
        json!({"user_id": "bob", "agent_id": "one", "session_name": "Alpha", "metadata": {"k": "v"}}),
        json!({"user_id": "alice", "agent_id": "two", "session_name": "Alpha", "metadata": {"k": "v"}}),
        json!({"user_id": "alice", "agent_id": "one", "session_name": "Beta", "metadata": {"k": "v"}}),
    ])
    .await;
    let all = "user_id=alice&type=agent&component_id=one&session_name=ALPHA&metadata.k=v&q=alpha&archived=false\
               &pinned=false&start_timestamp=1000000&end_timestamp=2000000&updated_after=0&updated_before=3000000";
    assert_finds(&app, &format!("{all}&sort_by=created_at"), &["a", "b"]).await;
    assert_finds(&app, &format!("{all}&sort_by=updated_at"), &["b", "a"]).await;
    assert_finds(&app, &format!("{all}&sort_by=session_name&sort_order=desc"), &["b", "a"]).await;
}

#[tokio::test]
async fn a_name_that_changes_is_found_by_the_new_one_only() {
    let app = TestApp::start().await;
    app.say("s-1", "First words").await;
    rename(&app, "s-1", "Holidays").await.expect(200);
    assert_finds(&app, "session_name=holi", &["s-1"]).await;
    assert_finds(&app, "session_name=first", &[]).await;
    app.patch("/sessions/s-1", json!({"metadata": {"k": 1}})).await.expect(200);
    assert_finds(&app, "metadata.k=1", &["s-1"]).await;
    rename(&app, "s-1", "").await.expect(200);
    assert_eq!(get(&app, "s-1").await["session_name"], "First words");
    assert_finds(&app, "session_name=first&sort_by=session_name", &["s-1"]).await;
    assert_eq!(column(&list(&app, "sort_by=session_name").await["data"], "session_name"), ["First words"]);
}
