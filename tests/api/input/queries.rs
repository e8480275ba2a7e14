//! Query parameters.

use reqwest::Method;
use serde_json::json;

use super::{app_with_a_session, assert_untouched, refused, refused_get};

#[tokio::test]
async fn a_wrong_parameter_of_the_list_is_refused_by_its_name() {
    let app = app_with_a_session().await;
    for (query, mentions) in [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=one", "page"),
        ("page=4294967296", "page"),
        ("page=1&page=2", "page"),
        ("limit=0", "limit"),
        ("limit=101", "100"),
        ("limit=abc", "limit"),
        ("limit=1.5", "limit"),
        ("sort_by=nonsense", "session_name"),
        ("sort_by=user_id%3B%20drop%20table%20runs", "sort_by"),
        ("sort_order=sideways", "desc"),
        ("type=robot", "workflow"),
        ("type=agents", "type"),
        ("nonsense=1", "nonsense"),
        ("user_id=%00", "user_id"),
        ("sort_by=created_at&sort_by=updated_at", "sort_by"),
        ("start_timestamp=soon", "1970"),
        ("end_timestamp=253402300800", "9999"),
        ("updated_after=-1", "updated_after"),
        ("updated_before=1.5", "updated_before"),
        ("start_timestamp=2&end_timestamp=1", "end_timestamp"),
        ("start_timestamp=2026-11-22T10:05:20Z&end_timestamp=2026-11-22T10:05:19Z", "end_timestamp"),
        ("updated_after=2&updated_before=1", "updated_before"),
        ("archived=maybe", "archived"),
        ("pinned=1", "pinned"),
        ("include_total=no", "include_total"),
        ("q=%21%3F", "word"),
        ("cursor=nonsense", "cursor"),
        ("cursor=%F0%9F%A6%80", "cursor"),
        ("metadata=1", "metadata"),
        ("metadata.a=1&metadata.a=2", "more than once"),
        ("metadata.a=%00", "NUL"),
    ] {
        refused_get(&app, &format!("/sessions?{query}"), 422, mentions).await;
    }
    assert_untouched(&app).await;
}

#[tokio::test]
async fn a_nul_character_in_a_filter_is_refused() {
    let app = app_with_a_session().await;
    refused_get(&app, "/sessions?session_name=%00", 422, "session_name").await;
    refused_get(&app, "/sessions?component_id=a%00b", 422, "component_id").await;
}

#[tokio::test]
async fn a_wrong_parameter_of_a_session_is_refused_by_its_name() {
    let app = app_with_a_session().await;
    for (query, mentions) in [
        ("messages_limit=0", "messages_limit"),
        ("messages_limit=1001", "1000"),
        ("messages_limit=abc", "messages_limit"),
        ("messages_before=nonsense", "no cursor"),
        ("messages_before=1", "no cursor"),
        ("messages_before=1.2.3", "no cursor"),
        ("messages_before=99999999999999999999.0", "no cursor"),
        ("type=robot", "type"),
        ("nonsense=1", "nonsense"),
    ] {
        refused_get(&app, &format!("/sessions/s-1?{query}"), 422, mentions).await;
    }
}

#[tokio::test]
async fn a_wrong_parameter_of_the_runs_is_refused_by_its_name() {
    let app = app_with_a_session().await;
    for (query, status, mentions) in [
        ("created_after=abc", 422, "created_after"),
        ("created_after=-1", 422, "created_after"),
        ("created_after=253402300800", 422, "9999"),
        ("created_after=9223372036854775807", 422, "created_after"),
        ("created_before=9223372036854775808", 422, "created_before"),
        ("created_before=1e400", 422, "created_before"),
        ("status=nonsense", 400, "COMPLETED"),
        ("type=robot", 422, "type"),
        ("nonsense=1", 422, "nonsense"),
    ] {
        refused_get(&app, &format!("/sessions/s-1/runs?{query}"), status, mentions).await;
    }
    for (query, status, mentions) in [
        ("", 422, "session_id"),
        ("session_id=", 422, "session_id"),
        ("session_id=s-1&status=nonsense", 400, "COMPLETED"),
        ("session_id=s-1&nonsense=1", 422, "nonsense"),
    ] {
        refused_get(&app, &format!("/agents/assistant/runs?{query}"), status, mentions).await;
    }
}

#[tokio::test]
async fn a_database_or_table_that_is_not_there_is_not_found() {
    let app = app_with_a_session().await;
    for path in ["/sessions", "/sessions/s-1", "/sessions/s-1/runs"] {
        refused_get(&app, &format!("{path}?db_id=other"), 404, "other").await;
        refused_get(&app, &format!("{path}?table=pg_user"), 404, "pg_user").await;
    }
    for (method, path, body) in [
        (Method::POST, "/sessions?db_id=other", json!({})),
        (Method::POST, "/sessions/s-1/rename?db_id=other", json!({"session_name": "N"})),
        (Method::DELETE, "/sessions?db_id=other", json!({"session_ids": ["s-1"]})),
        (Method::DELETE, "/sessions/s-1?db_id=other", json!(null)),
    ] {
        refused(&app, app.request(method, path).json(&body), 404, "other").await;
    }
    assert_untouched(&app).await;
}
