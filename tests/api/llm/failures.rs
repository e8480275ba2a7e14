//! Calls that fail: retries, fallbacks, and what the errors say.

use std::time::Duration;

use colloquy::testing::{
    config::{ModelSettings, Provider},
    llm::{ErrorKind, ModelError},
};

use super::{
    KEY, SECRET_WORD, fast, models,
    scripted_model::{
        Behaviour, ScriptedModel, cut_stream_after, garbage, hang, reply, slow_pieces, status, status_with_retry_after,
    },
    settings, timed, unchanged, user,
};

#[tokio::test]
async fn a_failed_call_is_repeated() {
    let server = ScriptedModel::start().await;
    let models = fast(&server, |settings| settings.max_retries = 2);
    for first in [status_with_retry_after(429, "0"), status(500, "oops"), status(408, "slow"), garbage()] {
        server.then(first).then(reply("at last"));
        let answer = models.complete("fast", &user("hi")).await.unwrap();
        assert_eq!(answer.content.as_deref(), Some("at last"));
    }
    assert_eq!(server.requests().len(), 8);
}

#[tokio::test]
async fn a_stream_is_repeated_while_nothing_was_handed_out() {
    let server = ScriptedModel::start().await;
    server.then(status(503, "busy")).then(reply("at last"));
    let models = fast(&server, |settings| settings.max_retries = 1);
    let mut seen = String::new();
    models.stream("fast", &user("hi"), &mut |piece| seen.push_str(piece)).await.unwrap();
    assert_eq!(seen, "at last");
}

#[tokio::test]
async fn repeating_ends_after_the_configured_number() {
    let server = ScriptedModel::start().await;
    server.otherwise(|_| status_with_retry_after(429, "0"));
    let models = fast(&server, |settings| settings.max_retries = 2);
    let error = models.complete("fast", &user("hi")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::RateLimited);
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn the_providers_wish_to_wait_is_honoured() {
    let server = ScriptedModel::start().await;
    server.then(status_with_retry_after(429, "1")).then(status_with_retry_after(429, "0")).then(reply("ok"));
    let models = fast(&server, |settings| settings.max_retries = 2);
    let (answer, took) = timed(models.complete("fast", &user("hi"))).await;
    assert_eq!(answer.unwrap().content.as_deref(), Some("ok"));
    assert!(took >= Duration::from_secs(1), "{took:?}");
    server.then(status_with_retry_after(503, "7"));
    let error = fast(&server, unchanged).complete("fast", &user("hi")).await.unwrap_err();
    assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_refusal_is_final_and_names_the_setting_of_the_key() {
    let server = ScriptedModel::start().await;
    server.otherwise(|_| status(401, &format!("no such key: {KEY}")));
    let models = fast(&server, |settings| settings.max_retries = 3);
    let error = models.complete("fast", &user(SECRET_WORD)).await.unwrap_err();
    assert_eq!((error.kind, server.requests().len()), (ErrorKind::Refused, 1));
    insta::assert_snapshot!(error, @"The model fast refuses the request. Ask the operator of this server to check the model's settings.");
    let detail = error.detail.replace(&server.base_url().replace("/v1", ""), "http://host");
    insta::assert_snapshot!(detail, @"models.fast at http://host answered 401: no such key: [key]. Check the key named by models.fast.api_key_env (the variable SCRIPTED_KEY).");
    let error = models.stream("fast", &user(SECRET_WORD), &mut |_| {}).await.unwrap_err();
    assert_eq!((error.kind, server.requests().len()), (ErrorKind::Refused, 2));
}

#[tokio::test]
async fn a_model_that_hangs_times_out_and_is_not_asked_again() {
    let server = ScriptedModel::start().await;
    server.otherwise(|_| hang());
    let models = fast(&server, |settings| {
        settings.timeout = Duration::from_millis(150);
        settings.max_retries = 3;
    });
    let (error, took) = timed(models.complete("fast", &user("hi"))).await;
    assert_eq!(error.unwrap_err().kind, ErrorKind::TimedOut);
    assert!(took < Duration::from_secs(2), "{took:?}");
    let error = models.stream("fast", &user("hi"), &mut |_| {}).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TimedOut);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_streams_limit_is_for_each_piece_and_not_for_all() {
    let server = ScriptedModel::start().await;
    server.then(slow_pieces(Duration::from_millis(150), "a b c d e f"));
    let models = fast(&server, |settings| settings.timeout = Duration::from_millis(600));
    let (answer, took) = timed(models.stream("fast", &user("hi"), &mut |_| {})).await;
    assert_eq!(answer.unwrap().content.as_deref(), Some("a b c d e f"));
    assert!(took > Duration::from_millis(600), "{took:?}");
}

#[tokio::test]
async fn what_is_not_an_answer_is_unreadable() {
    let server = ScriptedModel::start().await;
    let models = fast(&server, unchanged);
    for body in ["<html>", "{}", "[]", "null", r#"{"choices": []}"#, r#"{"choices": [{}]}"#, r#"{"id": 3}"#] {
        let raw = || Behaviour::Raw(body.into());
        server.then(raw()).then(raw());
        let error = models.complete("fast", &user("hi")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreadable, "{body}: {error}");
        let error = models.stream("fast", &user("hi"), &mut |_| {}).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreadable, "{body} as a stream: {error}");
    }
}

#[tokio::test]
async fn an_error_within_a_stream_is_reported() {
    let server = ScriptedModel::start().await;
    server.then(Behaviour::Raw(r#"{"error": {"message": "The engine is overloaded."}}"#.into()));
    let error = fast(&server, unchanged).stream("fast", &user("hi"), &mut |_| {}).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.detail.contains("The engine is overloaded"), "{}", error.detail);
    assert!(!error.message.contains("engine"), "{error}");
}

#[tokio::test]
async fn a_cut_answer_is_an_error_and_never_a_short_answer() {
    let server = ScriptedModel::start().await;
    let models = fast(&server, |settings| settings.max_retries = 3);
    // Cut after some pieces, and after all of them but before the end marker.
    for pieces in [1, 3, 5] {
        server.then(cut_stream_after(pieces, "one two three"));
        let before = server.requests().len();
        let error = models.stream("fast", &user("hi"), &mut |_| {}).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreadable, "{pieces}: {error}");
        assert_eq!(server.requests().len(), before + 1, "what was handed out is not asked for again");
    }
    server.then(cut_stream_after(1, "one two three"));
    let models = fast(&server, unchanged);
    assert_eq!(models.complete("fast", &user("hi")).await.unwrap_err().kind, ErrorKind::Unreadable);
}

#[tokio::test]
async fn a_stream_that_ends_quietly_before_its_marker_is_cut_too() {
    let server = ScriptedModel::start().await;
    server.then(Behaviour::Raw(r#"{"choices": [{"index": 0, "delta": {"content": "one"}}]}"#.into()));
    let mut seen = String::new();
    let models = fast(&server, unchanged);
    let error = models.stream("fast", &user("hi"), &mut |piece| seen.push_str(piece)).await.unwrap_err();
    assert_eq!((error.kind, seen.as_str()), (ErrorKind::Unreadable, "one"));
}

#[tokio::test]
async fn fallbacks_are_tried_in_order() {
    let [first, second, third] =
        [ScriptedModel::start().await, ScriptedModel::start().await, ScriptedModel::start().await];
    first.otherwise(|_| status(401, "no"));
    second.otherwise(|_| status(500, "oops"));
    let with_fallbacks = ModelSettings { fallbacks: vec!["b".into(), "c".into()], ..settings(&first) };
    let c = ModelSettings { id: "third".into(), ..settings(&third) };
    let models = models([("a", with_fallbacks), ("b", settings(&second)), ("c", c)]);
    let reply = models.complete("a", &user("hi")).await.unwrap();
    assert_eq!(reply.model.id, "third");
    assert_eq!([&first, &second, &third].map(|server| server.requests().len()), [1, 1, 1]);
    third.otherwise(|_| status(400, "nor this"));
    let error = models.stream("a", &user("hi"), &mut |_| {}).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    let named = ["The model a ", "The fallback b failed too", "The fallback c failed too"];
    assert!(named.iter().all(|part| error.message.contains(part)), "{error}");
    let details = ["models.a at ", "models.b at ", "oops", "models.c at ", "nor this"];
    assert!(details.iter().all(|part| error.detail.contains(part)), "{}", error.detail);
}

#[tokio::test]
async fn the_offline_model_may_be_the_last_fallback() {
    let server = ScriptedModel::start().await;
    server.otherwise(|_| status(500, "oops"));
    let with_fallback = ModelSettings { fallbacks: vec!["spare".into()], ..settings(&server) };
    let models = models([("a", with_fallback), ("spare", ModelSettings::new(Provider::Offline, "offline"))]);
    let reply = models.complete("a", &user("My name is Ann")).await.unwrap();
    assert_eq!((reply.content.as_deref(), reply.model.provider.as_str()), (Some("Nice to meet you, Ann."), "offline"));
}

#[tokio::test]
async fn there_is_no_fallback_once_content_was_handed_out() {
    let [first, second] = [ScriptedModel::start().await, ScriptedModel::start().await];
    first.then(cut_stream_after(1, "one two three"));
    let with_fallback = ModelSettings { fallbacks: vec!["b".into()], ..settings(&first) };
    let models = models([("a", with_fallback), ("b", settings(&second))]);
    let mut seen = String::new();
    let error = models.stream("a", &user("hi"), &mut |piece| seen.push_str(piece)).await.unwrap_err();
    assert_eq!((error.kind, seen.as_str()), (ErrorKind::Unreadable, "one "));
    assert!(second.requests().is_empty());
}

#[tokio::test]
async fn nobody_listening_is_unavailable_and_says_where() {
    let server = ScriptedModel::start().await;
    let models = fast(&server, |settings| settings.base_url = Some("http://127.0.0.1:9/v1".into()));
    let error = models.complete("fast", &user("hi")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    let detail = &error.detail;
    assert!(detail.contains("http://127.0.0.1:9") && detail.contains("models.fast.base_url"), "{detail}");
    assert!(!error.message.contains("127.0.0.1"), "{error}");
    let error = models.stream("fast", &user("hi"), &mut |_| {}).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn an_unknown_name_is_refused() {
    let error = models([]).complete("nobody", &user("hi")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.detail.contains("[models.nobody]"), "{}", error.detail);
}

#[tokio::test]
async fn no_error_shows_the_key_or_the_prompt() {
    let server = ScriptedModel::start().await;
    let models = fast(&server, |settings| settings.timeout = Duration::from_millis(300));
    let failures = [
        status(401, &format!("the key {KEY} is wrong")),
        status(400, "bad"),
        garbage(),
        hang(),
        cut_stream_after(2, "one two three"),
        Behaviour::Raw(r#"{"choices": [{"message": {"tool_calls": 7}}]}"#.into()),
        Behaviour::Raw("{}".into()),
    ];
    for failure in failures {
        server.then(failure.clone()).then(failure.clone());
        let request = user(SECRET_WORD);
        let whole = models.complete("fast", &request).await.unwrap_err();
        let streamed = models.stream("fast", &request, &mut |_| {}).await.unwrap_err();
        for error in [whole, streamed] {
            assert_says_nothing(&error);
        }
    }
    assert!(!format!("{models:?}").contains(KEY));
}

fn assert_says_nothing(error: &ModelError) {
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(SECRET_WORD), "{shown}");
    assert!(!shown.contains(KEY), "{shown}");
}
