//! Runs that name a process which does not live: frozen and buried, late with its beat, or gone in good order.

use std::io::Write;

use rustix::process::Signal;
use serde_json::json;

use super::{Site, ended, in_background, until};
use crate::support::{
    scripted_model::{echo, hang},
    server::Server,
};

const OPEN: &str = "select count(*) from open_runs";
const RUNS: &str = "select count(*) from runs";
const PROCESSES: &str = "select count(*) from processes";

/// Leaves a request in the server's socket, whether or not it reads it.
fn put_into_socket(server: &Server, session_id: &str) -> std::net::TcpStream {
    let address = server.url.strip_prefix("http://").unwrap();
    let body = json!({"message": "hi", "session_id": session_id}).to_string();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /agents/assistant/runs HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

/// Every run has ended, and every session takes another one.
async fn nothing_is_stuck(site: &Site, survivor: &Server, sessions: &[String]) {
    site.model.otherwise(echo);
    until("no run is open", async || site.count(OPEN).await == 0).await;
    for session in sessions {
        let next = survivor.run(json!({"message": "next", "session_id": session})).await;
        assert_eq!(next["status"], "COMPLETED", "{next}");
    }
    assert_eq!(site.count(OPEN).await, 0);
}

fn sessions(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("s-{number}")).collect()
}

#[tokio::test]
async fn frozen_beyond_its_lease_woken_and_killed() {
    let site = Site::new().await;
    let (doomed, survivor) = site.serve_twice().await;
    site.model.otherwise(|_| hang());
    doomed.process.signal(Signal::STOP);
    until("the frozen process is buried", async || site.count(PROCESSES).await == 1).await;
    let sessions = sessions(20);
    let _sockets: Vec<_> = sessions.iter().map(|session| put_into_socket(&doomed, session)).collect();
    doomed.process.signal(Signal::CONT);
    until("it accepts what lay in its socket", async || site.count(RUNS).await >= 5).await;
    let living = "select count(*) from open_runs where process_id in (select process_id from processes)";
    until("its runs are under the name of one that lives", async || site.count(living).await > 0).await;
    doomed.kill();
    nothing_is_stuck(&site, &survivor, &sessions).await;
}

#[tokio::test]
async fn a_process_whose_beat_is_late_accepts_under_a_new_name() {
    let site = Site::new().await;
    let doomed = site.serve().await;
    site.model.otherwise(|_| hang());
    let sessions = sessions(5);
    // As the others do when no beat came in time.
    sqlx::query("delete from processes").execute(&site.db).await.unwrap();
    let _sockets: Vec<_> = sessions.iter().map(|session| put_into_socket(&doomed, session)).collect();
    until("the runs are accepted", async || site.count(RUNS).await == 5).await;
    doomed.kill();
    let survivor = site.serve().await;
    nothing_is_stuck(&site, &survivor, &sessions).await;
}

#[tokio::test]
async fn an_orderly_stop_that_leaves_a_run_behind() {
    let site = Site::new().await;
    let grace = [("COLLOQUY_SERVER__SHUTDOWN_GRACE", "100ms")];
    let (stopped, survivor) = tokio::join!(site.serve_with(&grace), site.serve());
    survivor.run(json!({"message": "first", "session_id": "s"})).await;
    let mut holder = colloquy::testing::database::begin(&site.db).await.unwrap();
    sqlx::query("select from sessions where session_id = 's' for update").execute(&mut *holder).await.unwrap();
    let _socket = put_into_socket(&stopped, "s");
    site.blocked(1).await;
    stopped.process.signal(Signal::TERM);
    let living = "select count(*) from processes where expires_at > clock_timestamp()";
    until("the process has left", async || site.count(living).await == 1).await;
    stopped.kill();
    // PostgreSQL goes on with the statement of a process that is gone.
    holder.rollback().await.unwrap();
    until("the run is stored", async || site.count(RUNS).await >= 2).await;
    nothing_is_stuck(&site, &survivor, &["s".to_owned()]).await;
    until("the stopped process is buried", async || site.count(PROCESSES).await == 1).await;
}

#[tokio::test]
async fn what_the_last_process_left_behind_ends_when_the_next_one_starts() {
    let site = Site::new().await;
    let server = site.serve().await;
    for session in ["running", "waiting", "background"] {
        server.run(json!({"message": "first", "session_id": session})).await;
    }
    server.kill();
    let names_nobody = "
        update sessions set last_seq = 2, active_seq = 2;
        insert into runs (session_id, seq, input) select session_id, 2, 'hi' from sessions;
        insert into open_runs (session_id, seq, run_id, status, process_id, waiter_id, background, attempts, max_attempts,
                               request)
        select session_id, seq, run_id, case session_id when 'waiting' then 'PENDING' else 'RUNNING' end::run_status,
               case when session_id <> 'waiting' then '01a206c1-4b42-72a9-b242-a016793c2551'::uuid end,
               case when session_id = 'waiting' then '01a206c1-4b42-72a9-b242-a016793c2551'::uuid end,
               session_id = 'background', 1, 3,
               case when session_id = 'background' then
                   '{\"delivery\": {\"background\": true}}'::jsonb
               end
        from runs where seq = 2;
        delete from processes";
    sqlx::raw_sql(names_nobody).execute(&site.db).await.unwrap();
    let next = site.serve().await;
    for session in ["running", "waiting"] {
        let run = ended(&next, session).await.remove(1);
        assert_eq!((&run["status"], &run["error"]["type"]), (&json!("ERROR"), &json!("interrupted")), "{run}");
    }
    let run = ended(&next, "background").await.remove(1);
    assert_eq!((&run["status"], &run["content"]), (&json!("COMPLETED"), &json!("Hello! You said: hi")), "{run}");
    nothing_is_stuck(&site, &next, &["running".into(), "waiting".into(), "background".into()]).await;
}

#[tokio::test]
async fn a_cancelled_run_of_a_process_that_dies_ends_as_cancelled() {
    let site = Site::new().await;
    let (doomed, survivor) = site.serve_twice().await;
    site.model.otherwise(|_| hang());
    let path = in_background(&doomed, "s").await;
    site.model_called(1).await;
    doomed.process.signal(Signal::STOP);
    survivor.post(&format!("{path}/cancel"), json!({})).await.expect(200);
    let run = ended(&survivor, "s").await.remove(0);
    assert_eq!((&run["status"], &run["error"]["type"]), (&json!("CANCELLED"), &json!("cancelled")), "{run}");
    assert_eq!(site.model.requests().len(), 1);
}
