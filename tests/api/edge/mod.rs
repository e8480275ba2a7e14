//! What meets the server before any route does: strangers, slow and idle connections, what is no request.

mod connections;
mod large;
mod strangers;

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::TestApp;

/// A test that waits so long waits for what will not come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to the server, of which a test writes every byte.
struct Raw(TcpStream);

impl Raw {
    async fn open(app: &TestApp) -> Self {
        Self(TcpStream::connect(app.base_url.trim_start_matches("http://")).await.unwrap())
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.write_all(bytes.as_ref()).await.unwrap();
        self
    }

    /// All that comes until the server closes the connection.
    async fn read_to_end(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await.expect("the connection is closed in time");
        read.unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&bytes)));
        String::from_utf8(bytes).unwrap()
    }

    /// What comes until `end` has come.
    async fn read_until(&mut self, end: &str) -> String {
        let mut text = String::new();
        let reading = async {
            while !text.contains(end) {
                let mut bytes = [0; 1024];
                let read = self.0.read(&mut bytes).await.unwrap();
                assert!(read > 0, "closed after {text:?}");
                text += &String::from_utf8_lossy(&bytes[..read]);
            }
        };
        timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("{end:?} does not come"));
        text
    }
}

/// Checks that a raw answer is a problem document with this status, and answers its detail.
#[track_caller]
fn expect_problem(answer: &str, status: u16) -> String {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:.300}");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.to_lowercase().contains("content-type: application/problem+json"), "{head}");
    let problem: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    assert_eq!(problem["status"], status);
    assert!(head.contains(problem["instance"].as_str().expect("the request's id")), "{answer}");
    problem["detail"].as_str().unwrap().to_owned()
}
