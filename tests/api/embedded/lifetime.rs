//! From the first start to the last stop, and what happens when a process is killed in between.

use std::{
    env,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
};

use colloquy::testing::database::embedded::{EmbeddedPostgres, Options};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

use super::support::{Home, ask, kill, test_options, wait_until};

/// Names the directory for which this test binary is to hold a server, as another process.
const HOLD: &str = "HOLD_EMBEDDED_POSTGRES_IN";

const MAKE_NOTE: &str = "CREATE TABLE note AS SELECT 'kept' AS text";
const READ_NOTE: &str = "SELECT text FROM note";

#[test]
fn a_restart_keeps_the_data() {
    let home = Home::new();
    let first = home.start();
    assert_eq!(ask(&first, &[MAKE_NOTE, READ_NOTE]), "kept");
    first.stop();
    assert!(!home.data().join("postmaster.pid").exists(), "the shutdown was orderly");

    let second = home.start();
    assert_eq!(ask(&second, &[READ_NOTE]), "kept");
    assert_eq!(
        ask(&second, &["SELECT current_setting('server_version_num')::int / 10000 || ''"]),
        second.major_version().to_string()
    );
}

#[test]
fn a_durable_server_syncs_and_a_test_server_does_not() {
    const DURABILITY: &str = "SELECT string_agg(setting, ' ' ORDER BY name) FROM pg_settings
        WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')";

    let home = Home::new();
    assert_eq!(ask(&home.start(), &[DURABILITY]), "off off off");
    assert_eq!(ask(&start_durable(&home), &[DURABILITY]), "on on on");
}

#[test]
fn the_server_has_no_network_address_and_knows_all_letters() {
    let home = Home::new();
    let server = home.start();
    assert_eq!(ask(&server, &["SHOW listen_addresses"]), "");
    assert_eq!(ask(&server, &["SELECT lower('ÉÑЖ')"]), "éñж");
    assert_eq!(ask(&server, &["SHOW max_connections"]), "10");
}

#[tokio::test]
async fn the_url_leads_to_the_same_server() {
    let home = Home::new();
    let server = home.start();
    let options: PgConnectOptions = server.url("postgres").parse().expect("a URL");
    assert_eq!(options.get_socket(), server.connect_options("postgres").get_socket());
    let connection = PgConnection::connect_with(&options).await.expect("connects");
    connection.close().await.expect("closes");
}

#[test]
fn a_killed_server_has_lost_nothing_that_was_committed() {
    let home = Home::new();
    let server = start_durable(&home);
    ask(&server, &[MAKE_NOTE, READ_NOTE]);
    kill(home.server_pid());
    drop(server);

    assert_eq!(ask(&start_durable(&home), &[READ_NOTE]), "kept");
}

#[test]
fn the_server_outlives_the_thread_that_started_it() {
    let home = Home::new();
    let server = thread::scope(|scope| scope.spawn(|| home.start()).join()).expect("starts");
    assert_eq!(ask(&server, &[MAKE_NOTE, READ_NOTE]), "kept");
}

#[test]
fn the_death_of_its_owner_ends_the_server() {
    for home in [Home::new(), Home::private()] {
        let mut owner = start_in_another_process(&home);
        home.server_pid();
        owner.kill().expect("still there");
        owner.wait().expect("ends");
        wait_until("the server has ended in order", || !home.data().join("postmaster.pid").exists());
    }
}

#[test]
fn the_next_owner_takes_over_from_a_killed_one_at_once() {
    let home = Home::new();
    let mut owner = start_in_another_process(&home);
    let orphan = home.server_pid();
    owner.kill().expect("still there");
    owner.wait().expect("ends");

    let server = home.start();
    assert_ne!(home.server_pid(), orphan);
    assert_eq!(ask(&server, &[MAKE_NOTE, READ_NOTE]), "kept");
}

fn start_durable(home: &Home) -> EmbeddedPostgres {
    EmbeddedPostgres::start(&Options { durable: true, ..test_options(home.dir()) }).expect("starts")
}

fn start_in_another_process(home: &Home) -> Child {
    Command::new(env::current_exe().expect("this binary"))
        .args(["--exact", "embedded::lifetime::hold_a_server_for_another_test"])
        .env(HOLD, home.dir())
        .stdout(Stdio::null())
        .spawn()
        .expect("this binary runs")
}

/// The other process; nothing in a normal run.
#[test]
fn hold_a_server_for_another_test() {
    let Some(dir) = env::var_os(HOLD) else { return };
    let _server = EmbeddedPostgres::start(&test_options(PathBuf::from(dir))).expect("starts");
    loop {
        thread::park();
    }
}
