//! The real process, as an operator starts it.

use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStderr, Command, Stdio},
    thread::JoinHandle,
};

use colloquy::testing::http_client;
use reqwest::{Client, Method, RequestBuilder};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Answer;

/// `colloquy` with these arguments, and nothing of the tester's own environment.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_colloquy"));
    for key in ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "DATABASE_URL", "RUST_LOG"] {
        command.env_remove(key);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// What a command says that does not start.
pub(crate) fn failure(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = command(arguments);
    let output = command.envs(environment.iter().copied()).output().expect("the binary starts");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!output.status.success(), "it should refuse to start: {said}");
    said
}

/// A process; killed when dropped.
pub(crate) struct Process(Child);

impl Process {
    fn spawn(mut command: Command) -> (Self, Lines<BufReader<ChildStderr>>) {
        let mut child = command.spawn().expect("the binary starts");
        let log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        (Self(child), log)
    }

    /// A process that serves nothing.
    pub(crate) fn start(command: Command) -> Self {
        let (process, log) = Self::spawn(command);
        drain(log);
        process
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("it runs");
    }

    /// Waits until it has ended by itself, and answers whether it ended well. Blocks.
    pub(crate) fn ends_well(&mut self) -> bool {
        self.0.wait().expect("a child").success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads to the end, because the pipe must not fill up; answers all of it.
fn drain(log: Lines<BufReader<ChildStderr>>) -> JoinHandle<String> {
    std::thread::spawn(move || log.map_while(Result::ok).collect::<Vec<_>>().join("\n"))
}

/// `colloquy serve` on a free port.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) url: String,
    client: Client,
    log: JoinHandle<String>,
}

impl Server {
    /// Returns when the log says where it serves. Blocks.
    pub(crate) fn start(mut command: Command) -> Self {
        command.args(["--bind", "127.0.0.1:0"]);
        let (process, mut log) = Process::spawn(command);
        let address = loop {
            let line = log.next().expect("it serves before its log ends").expect("UTF-8");
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(address) = entry["address"].as_str() {
                break address.to_owned();
            }
        };
        Self {
            process,
            url: format!("http://{address}"),
            client: http_client::builder().build().expect("a client"),
            log: drain(log),
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::read(self.request(Method::GET, path).send().await.expect("an answer")).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        Answer::read(self.request(Method::POST, path).json(&body).send().await.expect("an answer")).await
    }

    /// A run of the assistant, not sent yet.
    pub(crate) fn run_request(&self, body: &Value) -> RequestBuilder {
        self.request(Method::POST, "/agents/assistant/runs").json(body)
    }

    /// Runs the assistant and answers with whatever the body says.
    pub(crate) async fn run(&self, body: Value) -> Value {
        self.post("/agents/assistant/runs", body).await.json()
    }

    /// As `kill -9`, and waits until it is gone.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// The same; answers what it has logged since it serves.
    pub(crate) fn kill_for_its_log(self) -> String {
        drop(self.process);
        self.log.join().expect("the log is read to its end")
    }
}
