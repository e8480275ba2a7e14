//! Forms, urlencoded and multipart.

use super::{RUNS, app_with_a_session, assert_untouched, raw, refused};
use crate::support::TestApp;

const URLENCODED: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=b";

/// One part of a multipart body; `more` stands behind the name.
fn part(name: &str, more: &str, value: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n{value}\r\n")
}

#[tokio::test]
async fn a_form_with_a_wrong_field_is_refused() {
    let app = app_with_a_session().await;
    for (form, mentions) in [
        ("", "message"),
        ("stream=false", "message"),
        ("message=", "message"),
        ("message=Hi&stream=perhaps", "stream"),
        ("message=Hi&session_state=%5B1%5D", "session_state"),
        ("message=Hi&session_state=%7Bbroken", "session_state"),
        ("message=Hi&metadata=7", "metadata"),
        ("message=Hi&background=perhaps", "background"),
        ("message=Hi&on_busy=push", "on_busy"),
        ("message=Hi&webhook_url=http://example.com", "webhook_url"),
        ("message=Hi&run_id=01a206c1-4b42-72a9-b242-a016793c2551", "run_id"),
        ("message=Hi&images=%5B%7B%7D%5D", "images"),
        ("message=Hi&num_history_runs=-1", "num_history_runs"),
        ("message=a%00b", "NUL"),
        ("message=Hi&session_id=%00", "NUL"),
        ("message=Hi&session_id=%0A", "control"),
    ] {
        refused(&app, raw(&app, RUNS, URLENCODED, form), 422, mentions).await;
    }
    assert_untouched(&app).await;
}

#[tokio::test]
async fn a_file_is_refused_rather_than_dropped() {
    let app = app_with_a_session().await;
    for name in ["files", "document"] {
        let file = part(name, "; filename=\"a.pdf\"\r\nContent-Type: application/pdf", "%PDF-");
        let body = format!("{}{file}--b--\r\n", part("message", "", "Read this"));
        refused(&app, raw(&app, RUNS, MULTIPART, body), 422, name).await;
    }
    assert_untouched(&app).await;
}

#[tokio::test]
async fn a_broken_multipart_body_cannot_be_read() {
    let app = app_with_a_session().await;
    let whole = format!("{}--b--\r\n", part("message", "", "Hi"));
    for (content_type, body) in [
        ("multipart/form-data", whole.as_str()),
        ("multipart/form-data; boundary=", whole.as_str()),
        ("multipart/form-data; boundary=other", whole.as_str()),
        (MULTIPART, "--b\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\nHi"),
        (MULTIPART, "--b\r\nno header at all"),
        (MULTIPART, "nonsense"),
        (MULTIPART, ""),
    ] {
        refused(&app, raw(&app, RUNS, content_type, body), 400, "multipart").await;
    }
    assert_untouched(&app).await;
}

#[tokio::test]
async fn a_multipart_form_that_is_whole_is_taken() {
    let app = TestApp::start().await;
    let parts = [("message", "Hi"), ("stream", "false"), ("session_id", ""), ("user_id", "alice")];
    let parts: String = parts.iter().map(|(name, value)| part(name, "", value)).collect();
    // A browser sends an empty file for a field that nobody has filled in.
    let file = part("files", "; filename=\"\"\r\nContent-Type: application/octet-stream", "");
    let run = app.send(raw(&app, RUNS, MULTIPART, format!("{parts}{file}--b--\r\n"))).await.expect(200);
    assert_eq!((&run["status"], &run["user_id"]), (&"COMPLETED".into(), &"alice".into()));
}

#[tokio::test]
async fn a_form_that_is_not_utf_8_cannot_be_read() {
    let app = app_with_a_session().await;
    for form in [&b"message=%FF&stream=false"[..], b"message=\xff&stream=false", b"message=Hi&stream=false&user_id=%C3"]
    {
        refused(&app, raw(&app, RUNS, URLENCODED, form), 400, "UTF-8").await;
    }
    assert_untouched(&app).await;
}

#[tokio::test]
async fn a_multipart_form_that_is_not_utf_8_cannot_be_read() {
    let app = app_with_a_session().await;
    let mut body = part("stream", "", "false").into_bytes();
    body.extend(b"--b\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\n\xff\r\n--b--\r\n");
    refused(&app, raw(&app, RUNS, MULTIPART, body), 400, "UTF-8").await;
    assert_untouched(&app).await;
}

#[tokio::test]
async fn a_form_of_ten_megabytes_is_too_large() {
    let app = app_with_a_session().await;
    let message = "x".repeat(10_000_000);
    let form = format!("message={message}&stream=false");
    refused(&app, raw(&app, RUNS, URLENCODED, form), 413, "max_body_bytes").await;
    let multipart = format!("{}--b--\r\n", part("message", "", &message));
    refused(&app, raw(&app, RUNS, MULTIPART, multipart), 413, "max_body_bytes").await;
    assert_untouched(&app).await;
}
