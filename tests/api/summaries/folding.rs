//! When a session is folded, and what the next prompts are.

use colloquy::testing::config::{ModelSettings, Provider};
use serde_json::{Value, json};

use super::{boundary, folds, marks, summarize_or_echo, summarizing, summarizing_app, talk};
use crate::support::{TestApp, assert_short_and_long_cost_the_same};

fn last_prompt(app: &TestApp) -> Vec<Value> {
    app.model.requests().last().unwrap()["messages"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_has_grown_too_long_is_folded_after_the_run() {
    let app = summarizing_app().await;
    let mut number = 0;
    while app.get("/jobs").await.expect(200)["data"] == json!([]) {
        number += 1;
        talk(&app, "s", number).await;
    }
    assert!((4..12).contains(&number), "{number}");
    assert!(folds(&app).is_empty(), "no run waits for a summary");
    let job = &app.get("/jobs").await.expect(200)["data"][0];
    assert_eq!((&job["kind"], &job["about"]), (&json!("fold_session"), &json!("s")));
    app.do_jobs().await;
    assert_eq!(app.get("/jobs").await.expect(200)["data"], json!([]));

    let (through, unfolded) = boundary(&app, "s").await;
    assert!(through > 0 && unfolded <= 100, "{through} {unfolded}");
    let next = talk(&app, "s", number + 1).await;
    let prompt = last_prompt(&app);
    assert_eq!(prompt[0], json!({"role": "system", "content": "A helpful assistant."}));
    let covered: Vec<String> = (1..=through).map(|number| format!("#{number}")).collect();
    let said = prompt[1..].iter().filter(|message| message["role"] == "user");
    let said: Vec<&str> = said.map(|message| message["content"].as_str().unwrap()).collect();
    let (summary, first) = said[0].split_once("</session_summary>").unwrap();
    assert_eq!(marks(summary), covered, "the summary stands before what the user said first");
    let roles = prompt.iter().map(|message| message["role"].as_str().unwrap());
    assert!(roles.collect::<Vec<_>>().windows(2).all(|pair| pair[0] != pair[1]), "nobody speaks twice in a row");
    let verbatim: Vec<String> = [&[first], &said[1..]].concat().into_iter().flat_map(marks).collect();
    let rest: Vec<String> = (through + 1..=i64::try_from(number).unwrap() + 1).map(|n| format!("#{n}")).collect();
    assert_eq!(verbatim, rest, "the history begins right after the summary");
    let context = &next["context"];
    assert_eq!(context["summary_through"], through);
    assert_eq!(context["first_history_seq"], through + 1);
    assert_eq!(context["window"], "after_summary");
    assert!(context["tokens"]["summary"].as_u64().unwrap() > 10, "{context}");
}

#[tokio::test]
async fn a_fold_reads_the_summary_before_and_the_oldest_runs_never_all_again() {
    let app = summarizing_app().await;
    for number in 1..=40 {
        talk(&app, "s", number).await;
        app.do_jobs().await;
    }
    let folds = folds(&app);
    assert!((5..15).contains(&folds.len()), "{}", folds.len());
    let lengths: Vec<usize> = folds.iter().map(|fold| fold.to_string().len()).collect();
    let (second, last) = (lengths[1], *lengths.last().unwrap());
    assert!(last < second + 500, "{lengths:?}");
    let shown = |fold: &Value| fold["messages"][1]["content"].as_str().unwrap().to_owned();
    let (previous, conversation) =
        shown(&folds[3]).split_once("<conversation>").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert_eq!(marks(&previous)[0], "#1");
    assert_eq!(marks(&conversation).len(), marks(&shown(&folds[3])).len() - marks(&previous).len());
}

#[tokio::test]
async fn a_plain_agent_queues_nothing() {
    let app = TestApp::start().await;
    for number in 1..=3 {
        app.say("s", &format!("{number} {}", "many words ".repeat(2_000))).await;
    }
    assert_eq!(app.get("/jobs").await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn a_run_can_switch_summaries_on_and_off() {
    let app = summarizing_app().await;
    let say = async |number: usize, switch: &str, on: bool| {
        let mut body = json!({"message": super::message(number), "session_id": "s"});
        body[switch] = on.into();
        app.run(body).await.expect(200)
    };
    for number in 1..=12 {
        say(number, "enable_session_summaries", false).await;
    }
    assert_eq!(app.get("/jobs").await.expect(200)["data"], json!([]));
    talk(&app, "s", 13).await;
    app.do_jobs().await;
    assert!(boundary(&app, "s").await.0 > 0);
    let without = say(14, "include_summary", false).await;
    assert_eq!(without["context"]["window"], "last_runs");
    assert_eq!(without["context"]["history_runs"], 3);
    assert_eq!(last_prompt(&app)[0]["content"], "A helpful assistant.");
    let both = json!({"message": "x", "include_summary": true, "add_session_summary_to_context": false});
    app.run(both).await.expect_problem(422);
}

#[tokio::test]
async fn a_manager_may_have_its_own_model_and_words() {
    let app = TestApp::with(|settings| {
        summarizing(&mut settings.agents[0]);
        let mut small = settings.models["fast"].clone();
        small.id = "small".into();
        settings.models.insert("small".into(), small);
        settings.agents[0].model = Some("fast".into());
        settings.agents[0].session_summary.model = Some("small".into());
        settings.agents[0].session_summary.prompt = Some("Note the marks.".into());
    })
    .await;
    app.model.otherwise(summarize_or_echo);
    for number in 1..=8 {
        talk(&app, "s", number).await;
    }
    app.do_jobs().await;
    let fold = &folds(&app)[0];
    assert_eq!(fold["model"], "small");
    assert!(fold["messages"][0]["content"].as_str().unwrap().starts_with("Note the marks."));
    let versions = app.get("/sessions/s/summaries").await.expect(200);
    assert_eq!(versions["data"][0]["model"], "small");
    let details = &app.get("/sessions/s").await.expect(200)["metrics"]["details"];
    assert_eq!(details["session_summary_model"][0]["id"], "small");
}

#[tokio::test]
async fn offline_what_was_told_first_is_known_long_after_it_was_said() {
    let app = TestApp::with(|settings| {
        summarizing(&mut settings.agents[0]);
        settings.models = [("offline".to_owned(), ModelSettings::new(Provider::Offline, "offline"))].into();
    })
    .await;
    app.say("s", "Hi, my name is Alice and I like margherita pizza").await;
    for number in 1..=60 {
        app.say("s", &format!("Item {number} of the list is {}", "a word ".repeat(20))).await;
        app.do_jobs().await;
    }
    let answer = app.say("s", "What's my name?").await;
    assert_eq!(answer["content"], "Your name is Alice.");
    assert!(answer["context"]["first_history_seq"].as_i64().unwrap() > 40, "{answer}");
    assert_eq!(app.say("s", "What do I like?").await["content"], "You like margherita pizza.");
    let session = app.get("/sessions/s").await.expect(200);
    assert!(session["session_summary"]["summary"].as_str().unwrap().contains("Alice"), "{session}");
}

#[tokio::test]
async fn a_session_that_is_far_behind_is_folded_in_several_bounded_steps() {
    let app = summarizing_app().await;
    for number in 1..=30 {
        let body = json!({"message": super::message(number), "session_id": "s", "enable_session_summaries": false});
        app.run(body).await.expect(200);
    }
    talk(&app, "s", 31).await;
    app.do_jobs().await;
    let folds = folds(&app);
    assert!(folds.len() >= 4, "{}", folds.len());
    assert!(folds.iter().all(|fold| fold.to_string().len() < 5_000));
    let (through, unfolded) = boundary(&app, "s").await;
    assert!(unfolded <= 300 && through > 20, "{through} {unfolded}");
}

#[tokio::test]
async fn until_it_is_folded_the_oldest_runs_are_left_out_of_the_prompt() {
    let app = summarizing_app().await;
    let mut last = Value::Null;
    for number in 1..=30 {
        last = talk(&app, "s", number).await;
    }
    let context = &last["context"];
    assert!(context["tokens"]["history"].as_u64().unwrap() <= 600, "{context}");
    let (kept, left_out) = (context["history_runs"].as_i64().unwrap(), context["runs_left_out"].as_i64().unwrap());
    assert_eq!((kept + left_out, kept > 3), (29, true), "{context}");
}

#[tokio::test]
async fn run_number_ten_thousand_of_a_summarized_session_costs_what_run_number_ten_costs() {
    let app = TestApp::with(|settings| {
        summarizing(&mut settings.agents[0]);
        settings.database.max_connections = 1;
    })
    .await
    .without_decoy()
    .await;
    app.model.otherwise(summarize_or_echo);
    app.execute(
        "insert into sessions (session_id, last_seq, summary_through, unfolded_tokens)
         values ('first', 9, 6, 60), ('short', 9, 6, 60), ('long', 9999, 9996, 60);
         insert into runs (session_id, seq, input)
         select session_id, seq, 'words' from sessions, generate_series(1, last_seq) as seq;
         insert into outcomes (session_id, seq, content, tokens) select session_id, seq, 'words', 20 from runs;
         insert into summaries (session_id, through_seq, summary, topics, tokens, folded_runs, folded_tokens, model, model_provider, created_at)
         select session_id, through_seq, 'the same summary', '{}', 3, 3, 60, 'm', 'p', now()
         from sessions, generate_series(case session_id when 'long' then 3 else 6 end, summary_through, 3) as through_seq;
         analyze",
    )
    .await;
    // What a connection reads once is not counted.
    app.say("first", "the same message").await;
    let tables = ["sessions", "session_labels", "runs", "outcomes", "run_steps", "open_runs", "summaries"];
    assert_short_and_long_cost_the_same(&app, &tables).await;
}

#[tokio::test]
async fn what_was_said_elsewhere_weighs_and_is_folded_too() {
    let app = summarizing_app().await;
    let said: Vec<Value> = (1..=20)
        .flat_map(|number| {
            let answer = json!({"role": "assistant", "content": "Noted, and here are some words about it."});
            [json!({"role": "user", "content": super::message(number)}), answer]
        })
        .collect();
    app.post("/sessions/s/messages", json!({"agent_id": "assistant", "messages": said})).await.expect(201);
    let (through, unfolded) = boundary(&app, "s").await;
    assert!(through == 0 && unfolded > 600, "{through} {unfolded}");
    app.do_jobs().await;
    let (through, unfolded) = boundary(&app, "s").await;
    assert!(through > 10 && unfolded <= 300, "{through} {unfolded}");
}

#[tokio::test]
async fn many_short_runs_are_folded_by_their_number() {
    let app = TestApp::with_agent(|agent| {
        agent.enable_session_summaries = true;
        agent.history.max_runs = Some(6);
    })
    .await;
    app.model.otherwise(summarize_or_echo);
    let mut boundaries = Vec::new();
    for number in 1..=15 {
        let run = app.say("s", &format!("#{number}")).await;
        let through = boundaries.last().copied().unwrap_or(0);
        assert_eq!(run["context"]["summary_through"].as_i64().unwrap_or(0), through, "run {number}");
        assert_eq!(run["context"]["history_runs"], number - 1 - through, "run {number}");
        app.do_jobs().await;
        let (now, _) = boundary(&app, "s").await;
        if now != through {
            assert_eq!(number - now, 3, "half of the most that there may be is left word for word");
            boundaries.push(now);
        }
    }
    assert_eq!(boundaries, [4, 8, 12]);
    assert_eq!(folds(&app).len(), 3);
    assert_eq!(folds(&app)[1]["messages"][1]["content"].as_str().map(|fold| marks(fold).len()), Some(8));
}

#[tokio::test]
async fn many_short_turns_that_were_said_elsewhere_are_folded_by_their_number() {
    let app = TestApp::with_agent(|agent| {
        agent.enable_session_summaries = true;
        agent.history.max_runs = Some(6);
    })
    .await;
    app.model.otherwise(summarize_or_echo);
    let said: Vec<Value> = (1..=20).map(|number| json!({"role": "user", "content": format!("#{number}")})).collect();
    app.post("/sessions/s/messages", json!({"agent_id": "assistant", "messages": said})).await.expect(201);
    app.do_jobs().await;
    assert_eq!(boundary(&app, "s").await.0, 17);
}

#[tokio::test]
async fn by_default_the_tokens_decide_for_turns_of_some_length() {
    let app = TestApp::with_agent(|agent| agent.enable_session_summaries = true).await;
    app.model.otherwise(summarize_or_echo);
    for number in 1..=40 {
        app.say("s", &format!("#{number}")).await;
    }
    assert_eq!(app.get("/jobs").await.expect(200)["data"], json!([]));
    app.say("s", "#41").await;
    app.do_jobs().await;
    assert_eq!(boundary(&app, "s").await.0, 21);
    // A fold because of the tokens leaves as many runs as the tokens allow.
    let mut number = 41;
    while boundary(&app, "s").await.0 == 21 {
        number += 1;
        app.say("s", &format!("#{number} {}", "and some more words ".repeat(30))).await;
        app.do_jobs().await;
    }
    let (through, unfolded) = boundary(&app, "s").await;
    assert!(unfolded <= 1_400 && number - 21 < 40, "{number} {through} {unfolded}");
}
