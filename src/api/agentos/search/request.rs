//! Request bodies of `/search` and `/memories/search`.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    api::Problem,
    model::{Caller, SessionId, UserId},
    search::model::{Kind, MAX_QUERY_CHARS, Search, SearchFilter},
};

const DEFAULT_LIMIT: usize = 10;
const MAX_LIMIT: usize = 100;

/// A search over messages and memories.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"query": "When did I go to Oslo?", "user_id": "alice@example.com", "limit": 5}))]
pub struct SearchBody {
    /// A question or keywords; any text.
    #[schema(min_length = 1, max_length = 10000)]
    query: String,
    /// Searches all sessions and memories of this user. `user_id` or `session_id` is required.
    #[serde(default)]
    user_id: Option<UserId>,
    /// Searches only the messages of this session; memories belong to no session.
    #[serde(default)]
    session_id: Option<SessionId>,
    /// What to search for. Default: both.
    #[serde(default)]
    types: Option<Vec<Kind>>,
    /// Only what was said or learned at this time or later.
    #[serde(default)]
    from: Option<DateTime<Utc>>,
    /// Only what was said or learned before this time.
    #[serde(default)]
    to: Option<DateTime<Utc>>,
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100, default = 10)]
    limit: Option<usize>,
    /// Maximum tokens of all texts together; hits that do not fit are skipped. Without a `limit`, as many hits as fit,
    /// up to 100.
    #[serde(default)]
    #[schema(minimum = 1)]
    max_tokens: Option<usize>,
    /// Includes the parts of each score in the answer.
    #[serde(default)]
    pub(crate) explain: bool,
}

impl SearchBody {
    pub(crate) fn into_search(self, caller: Caller) -> Result<Search, Problem> {
        let caller = caller.acting_for(self.user_id, "/user_id")?;
        if caller.user().is_none() && self.session_id.is_none() {
            return Err(Problem::invalid("/user_id", "is missing, and so is session_id; say where to search"));
        }
        let types = self.types.unwrap_or_else(|| vec![Kind::Message, Kind::Memory]);
        if types.is_empty() {
            return Err(Problem::invalid("/types", "is empty; give message, memory or both"));
        }
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            return Err(Problem::invalid("/to", "is not later than from; swap the two"));
        }
        let bounded_by_tokens = self.max_tokens.is_some() && self.limit.is_none();
        Ok(Search {
            limit: if bounded_by_tokens { MAX_LIMIT } else { check_limit(self.limit)? },
            max_tokens: check_tokens(self.max_tokens)?,
            query: check_query(self.query)?,
            scope: caller.scope(),
            messages: types.contains(&Kind::Message),
            // A memory belongs to no session.
            memories: types.contains(&Kind::Memory) && self.session_id.is_none(),
            session_id: self.session_id,
            from: self.from,
            to: self.to,
            filter: SearchFilter::default(),
        })
    }
}

/// A search over a user's memories.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"query": "What music does she like?", "user_id": "alice@example.com"}))]
pub struct SearchMemoriesBody {
    #[schema(min_length = 1, max_length = 10000)]
    query: String,
    user_id: UserId,
    /// Only memories that this agent has learned.
    #[serde(default)]
    agent_id: Option<String>,
    /// Only memories with all of these topics, case-insensitive.
    #[serde(default)]
    topics: Vec<String>,
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100, default = 10)]
    limit: Option<usize>,
    /// Maximum tokens of all texts together; hits that do not fit are skipped.
    #[serde(default)]
    #[schema(minimum = 1)]
    max_tokens: Option<usize>,
    /// Includes the parts of each score in the answer.
    #[serde(default)]
    pub(crate) explain: bool,
}

impl SearchMemoriesBody {
    pub(crate) fn into_search(self, caller: Caller) -> Result<Search, Problem> {
        let caller = caller.acting_for(Some(self.user_id), "/user_id")?;
        let topics = self.topics.iter().map(|topic| topic.to_lowercase()).collect();
        Ok(Search {
            limit: check_limit(self.limit)?,
            max_tokens: check_tokens(self.max_tokens)?,
            filter: SearchFilter { agent_id: self.agent_id, topics },
            ..Search::of_memories(caller.scope(), check_query(self.query)?)
        })
    }
}

fn check_query(query: String) -> Result<String, Problem> {
    if query.trim().is_empty() {
        return Err(Problem::invalid("/query", "is empty; give a question or some words"));
    }
    match query.chars().count() {
        0..=MAX_QUERY_CHARS => Ok(query),
        count => Err(Problem::invalid("/query", format!("has {count} characters; use at most {MAX_QUERY_CHARS}"))),
    }
}

fn check_limit(limit: Option<usize>) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if (1..=MAX_LIMIT).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::invalid("/limit", format!("is {limit}; use 1 to {MAX_LIMIT}")))
}

fn check_tokens(tokens: Option<usize>) -> Result<Option<usize>, Problem> {
    if tokens == Some(0) {
        return Err(Problem::invalid("/max_tokens", "is 0; use at least 1, or leave it out"));
    }
    Ok(tokens)
}
