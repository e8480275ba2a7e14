//! What the server answered, ready to be asked about.

use reqwest::{StatusCode, header::HeaderMap};
use serde_json::Value;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, text: response.text().await.expect("a whole body") }
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The body, once the status has been checked.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// The problem document, once its form has been checked. Every problem says what to do in a sentence.
    #[track_caller]
    pub(crate) fn expect_problem(&self, status: u16) -> Value {
        let problem = self.expect(status);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["instance"], self.headers["x-request-id"].to_str().unwrap());
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.len() > 10, "{detail}");
        problem
    }

    /// The events of a finished stream.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<ServerEvent> {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.text.split("\n\n").filter(|block| !block.trim().is_empty()).filter_map(ServerEvent::parse).collect()
    }
}

/// One Server-Sent Event.
#[derive(Clone, Debug)]
pub(crate) struct ServerEvent {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl ServerEvent {
    pub(crate) fn parse(block: &str) -> Option<Self> {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let data = field("data: ")?;
        Some(Self {
            id: field("id: ")?,
            name: field("event: ")?,
            data: serde_json::from_str(&data).expect("data is one line of JSON"),
        })
    }
}
