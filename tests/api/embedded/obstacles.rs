//! Starts that are refused, and starts that succeed although something stands in the way.

use std::{
    fs,
    process::{Command, Stdio},
};

use colloquy::testing::database::embedded::{EmbeddedPostgres, StartError};
use rustix::process::Pid;

use super::support::{Home, ask, kill, paths_below, test_options};

const ALIVE: &str = "SELECT 'alive'";

#[test]
fn a_directory_has_one_owner() {
    let home = Home::new();
    let owner = home.start();
    assert!(matches!(home.try_start(), Err(StartError::InUse { .. })));
    assert_eq!(ask(&owner, &[ALIVE]), "alive");
}

#[test]
fn the_data_of_another_version_is_refused_and_left_alone() {
    let home = Home::new();
    let version_file = home.data().join("PG_VERSION");
    home.start().stop();
    let version = fs::read_to_string(&version_file).expect("a cluster");
    fs::write(&version_file, "11\n").expect("writable");
    let before = paths_below(&home.data());

    let error = home.try_start().expect_err("no such version is supported");
    assert!(matches!(error, StartError::OtherVersion { major: 11, .. }));
    assert!(error.to_string().contains("was made by PostgreSQL 11"), "{error}");
    assert_eq!(paths_below(&home.data()), before);

    fs::write(&version_file, version).expect("writable");
    assert_eq!(ask(&home.start(), &[ALIVE]), "alive");
}

#[test]
fn a_directory_with_something_else_is_refused_and_left_alone() {
    let home = Home::new();
    fs::create_dir_all(home.data()).expect("creates");
    fs::write(home.data().join("letter.txt"), "not a database").expect("writes");

    assert!(matches!(home.try_start(), Err(StartError::NotACluster { .. })));
    assert_eq!(paths_below(&home.data()), [home.data().join("letter.txt")]);
}

#[test]
fn half_a_cluster_is_made_anew() {
    let home = Home::new();
    let unfinished = home.dir().join("pg.init");
    fs::create_dir_all(unfinished.join("base")).expect("creates");
    fs::write(unfinished.join("PG_VERSION"), "15\n").expect("writes");

    assert_eq!(ask(&home.start(), &[ALIVE]), "alive");
    assert!(!unfinished.exists());
}

#[test]
fn a_path_too_long_for_a_socket_works() {
    let home = Home::new();
    let dir = home.dir().join("long-".repeat(40));
    let server = EmbeddedPostgres::start(&test_options(dir.clone())).expect("starts");
    assert_eq!(ask(&server, &[ALIVE]), "alive");

    let sockets = server.connect_options("postgres").get_socket().expect("a socket").clone();
    assert!(!sockets.starts_with(&dir));
    server.stop();
    assert!(!sockets.exists());
}

/// The owner is killed, and by the next start another program has the server's pid.
#[test]
fn a_pid_that_was_given_to_another_program_does_not_block() {
    // Private, so that root's server and the other program have the same account: PostgreSQL passes over others.
    let home = Home::private();
    let server = home.start();
    let pid_file = home.data().join("postmaster.pid");
    let killed = home.server_pid();
    kill(killed);
    drop(server);

    let mut other = Command::new("sh").args(["-c", "read wait"]).stdin(Stdio::piped()).spawn().expect("sh runs");
    let reused = Pid::from_child(&other).as_raw_nonzero().to_string();
    let note = fs::read_to_string(&pid_file).expect("left by the killed server");
    let note = note.replacen(&killed.as_raw_nonzero().to_string(), &reused, 1);
    fs::write(&pid_file, note).expect("writable");

    assert_eq!(ask(&home.start(), &[ALIVE]), "alive");
    assert!(other.try_wait().expect("a child").is_none(), "the other program was not touched");
    other.kill().expect("still there");
    other.wait().expect("ends");
}

#[test]
fn root_can_keep_its_data_where_nobody_else_gets_to() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root needs another account");
        return;
    }
    let home = Home::private();
    let server = home.start();
    assert_eq!(ask(&server, &[ALIVE]), "alive");
    server.stop();
    assert_eq!(ask(&home.start(), &[ALIVE]), "alive");
}
