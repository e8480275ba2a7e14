//! The real process: started, killed, started again.

use std::{path::Path, time::Duration};

use colloquy::testing::http_client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{
    scripted_model::{ScriptedModel, hang, slow_pieces},
    server::{self, Server, failure},
    test_database,
};

fn open_to_others(dir: &Path) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir, mode).expect("own directory");
}

#[tokio::test]
async fn with_nothing_configured_it_serves_and_remembers_after_kill_9() {
    let home = tempfile::tempdir().unwrap();
    open_to_others(home.path());
    let start = || {
        let mut command = server::command(&["serve", "--data-dir", "data"]);
        command.current_dir(home.path());
        Server::start(command)
    };
    let server = start();
    server.run(json!({"message": "Hi, my name is Alice", "session_id": "s"})).await;
    server.process.signal(Signal::KILL);
    drop(server);
    let run = start().run(json!({"message": "What's my name?", "session_id": "s"})).await;
    assert_eq!(run["content"], "Your name is Alice.", "{run}");
    assert_eq!(run["seq"], 2);
}

#[tokio::test]
async fn a_run_that_was_killed_with_its_embedded_server_is_an_error_after_the_restart() {
    let home = tempfile::tempdir().unwrap();
    open_to_others(home.path());
    let model = ScriptedModel::start().await;
    model.then(hang());
    let settings = format!("[models.m]\nprovider = \"openai\"\nid = \"m\"\nbase_url = \"{}\"\n", model.base_url());
    std::fs::write(home.path().join("colloquy.toml"), settings).unwrap();
    let start = || {
        let mut command = server::command(&["serve"]);
        command.current_dir(home.path());
        Server::start(command)
    };
    let server = start();
    let url = format!("{}/agents/assistant/runs", server.url);
    let hanging =
        http_client::builder().build().unwrap().post(url).json(&json!({"message": "hi", "session_id": "s"})).send();
    let killing = async {
        while model.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.process.signal(Signal::KILL);
    };
    let (answer, ()) = tokio::join!(hanging, killing);
    assert!(answer.is_err());
    drop(server);
    let again = start();
    let runs = again.get("/sessions/s/runs").await.expect(200);
    assert_eq!((&runs[0]["status"], &runs[0]["error"]["type"]), (&json!("ERROR"), &json!("interrupted")));
}

#[tokio::test]
async fn an_embedded_database_that_dies_is_started_again() {
    let home = tempfile::tempdir().unwrap();
    open_to_others(home.path());
    let mut command = server::command(&["serve", "--data-dir", "data"]);
    command.current_dir(home.path());
    let server = Server::start(command);
    server.run(json!({"message": "Hi, my name is Alice", "session_id": "s"})).await;
    let pid_file = std::fs::read_to_string(home.path().join("data/pg/postmaster.pid")).unwrap();
    let postmaster = Pid::from_raw(pid_file.lines().next().unwrap().parse().unwrap()).unwrap();
    kill_process(postmaster, Signal::KILL).unwrap();
    let again = async {
        loop {
            let run = server.run(json!({"message": "What's my name?", "session_id": "s"})).await;
            if run["status"] == "COMPLETED" {
                return run;
            }
            assert_eq!(run["status"], 503, "{run}");
        }
    };
    let run = tokio::time::timeout(Duration::from_mins(1), again).await.expect("the database comes back");
    assert_eq!(run["content"], "Your name is Alice.");
}

#[tokio::test]
async fn two_processes_may_start_on_one_empty_database() {
    let database = test_database().await;
    let pool = sqlx::PgPool::connect_with(database.options).await.unwrap();
    sqlx::raw_sql("drop schema public cascade; drop schema graphile_worker cascade; create schema public")
        .execute(&pool)
        .await
        .unwrap();
    let start = || {
        let url = database.url.clone();
        tokio::task::spawn_blocking(move || {
            let mut command = server::command(&["serve"]);
            command.env("DATABASE_URL", url);
            Server::start(command)
        })
    };
    let (first, second) = tokio::join!(start(), start());
    first.unwrap().run(json!({"message": "My name is Alice", "session_id": "s"})).await;
    let run = second.unwrap().run(json!({"message": "What's my name?", "session_id": "s"})).await;
    assert_eq!(run["content"], "Your name is Alice.", "{run}");
}

#[tokio::test]
async fn a_terminated_process_lets_its_run_settle() {
    let database = test_database().await;
    let model = ScriptedModel::start().await;
    model.otherwise(|_| slow_pieces(Duration::from_millis(300), "settled"));
    let mut settings = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    let toml = format!("[models.fast]\nprovider = \"openai\"\nid = \"m\"\nbase_url = \"{}\"\n", model.base_url());
    std::io::Write::write_all(&mut settings, toml.as_bytes()).unwrap();
    let mut command = server::command(&["serve", "--config", settings.path().to_str().unwrap()]);
    command.env("DATABASE_URL", &database.url);
    let mut server = tokio::task::spawn_blocking(move || Server::start(command)).await.unwrap();
    let (run, ()) = tokio::join!(server.run(json!({"message": "hi", "session_id": "s"})), async {
        while model.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        server.process.signal(Signal::TERM);
    });
    assert_eq!(run["content"], "settled", "{run}");
    assert!(tokio::task::spawn_blocking(move || server.process.ends_well()).await.unwrap());
}

#[test]
fn what_is_wrong_at_start_is_said_with_a_remedy() {
    let nobody_there = failure(
        &["migrate"],
        &[("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x"), ("COLLOQUY_DATABASE__CONNECT_TIMEOUT", "200ms")],
    );
    assert!(nobody_there.contains("127.0.0.1:1") && nobody_there.contains("DATABASE_URL"), "{nobody_there}");
    assert!(!nobody_there.contains("hunter2"));
    let unknown = failure(&["serve"], &[("COLLOQUY_SERVER__BNID", "x")]);
    assert!(unknown.contains("bnid"), "{unknown}");
    assert!(failure(&["serve", "--config", "no.toml"], &[]).contains("no.toml"));
}

#[tokio::test]
async fn a_text_search_configuration_that_the_database_does_not_have_is_refused_at_start() {
    let url = test_database().await.url;
    let refusal = failure(&["serve"], &[("DATABASE_URL", &url), ("COLLOQUY_SEARCH__TEXT_CONFIG", "klingon")]);
    assert!(refusal.contains("search.text_config \"klingon\"") && refusal.contains("use simple"), "{refusal}");
}
