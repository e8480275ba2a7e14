//! The filters of the list, in its query and in the body of a deletion.

use std::collections::BTreeMap;

use axum::{
    extract::FromRequestParts,
    http::{Request, request::Parts},
};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::{
    given_type::{of_body, of_query},
    moment::{self, Moment},
};
use crate::{
    auth::UserId,
    http::{
        Problem, Query,
        extract::{absent_if_empty, never_empty},
        paging::SortOrder,
    },
    sessions::{
        SessionType,
        filter::{Archived, SessionFilter, Sort, SortBy},
    },
    text,
};

const MAX_SEARCH_CHARS: usize = 500;
const MAX_METADATA_KEYS: usize = 16;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// In any case; also `session_type`.
    #[serde(rename = "type", alias = "session_type", default, deserialize_with = "of_query")]
    #[param(rename = "type")]
    session_type: Option<SessionType>,
    /// Sessions with this agent, team or workflow.
    #[serde(default, deserialize_with = "absent_if_empty")]
    component_id: Option<String>,
    #[serde(default, deserialize_with = "never_empty")]
    pub(in crate::sessions) user_id: Option<UserId>,
    /// A part of the name, in any case.
    #[serde(default, deserialize_with = "absent_if_empty")]
    session_name: Option<String>,
    /// Created then or later: Unix seconds or RFC 3339.
    #[serde(default, deserialize_with = "absent_if_empty")]
    #[param(schema_with = moment::schema)]
    start_timestamp: Option<Moment>,
    /// Created then or earlier.
    #[serde(default, deserialize_with = "absent_if_empty")]
    #[param(schema_with = moment::schema)]
    end_timestamp: Option<Moment>,
    /// Changed then or later. A run changes its session when it ends.
    #[serde(default, deserialize_with = "absent_if_empty")]
    #[param(schema_with = moment::schema)]
    updated_after: Option<Moment>,
    /// Last changed then or earlier.
    #[serde(default, deserialize_with = "absent_if_empty")]
    #[param(schema_with = moment::schema)]
    updated_before: Option<Moment>,
    /// Words that are in a message, or in the name: `"in this order"`, `-without`, `this or that`. Each session found
    /// shows an `excerpt`. What is written without spaces, as in Chinese and Japanese, is found by any part of it.
    #[serde(default, deserialize_with = "absent_if_empty")]
    #[param(max_length = 500)]
    q: Option<String>,
    /// `false` if left out: archived sessions are not shown.
    #[serde(default, deserialize_with = "never_empty")]
    #[param(inline)]
    archived: Option<Archived>,
    pinned: Option<bool>,
    /// Sessions that have been summarized, or those that have not.
    has_summary: Option<bool>,
    #[param(value_type = Option<i64>, minimum = 1, maximum = 4_294_967_295_i64, default = 1)]
    pub(in crate::sessions) page: Option<u32>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    pub(in crate::sessions) limit: Option<u32>,
    /// The `next_cursor` of the page before, in place of `page`: as quick on the last page as on the first, and no
    /// session is shown twice or passed over when others come and go.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(in crate::sessions) cursor: Option<String>,
    /// `false`: do not count; `meta` has no totals then.
    #[param(default = true)]
    pub(in crate::sessions) include_total: Option<bool>,
    /// `created_at` if left out.
    #[serde(default, deserialize_with = "never_empty")]
    #[param(inline)]
    sort_by: Option<SortBy>,
    /// `desc` if left out.
    #[serde(default, deserialize_with = "never_empty")]
    #[param(inline)]
    sort_order: Option<SortOrder>,
    /// The database of `/config`; there is one.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(in crate::sessions) db_id: Option<String>,
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(in crate::sessions) table: Option<String>,
}

/// The query of the list with its `metadata.<key>=<value>`, which are as many as the caller likes.
#[derive(Debug)]
pub struct Listing {
    pub(in crate::sessions) query: ListQuery,
    pub(in crate::sessions) filter: SessionFilter,
    pub(in crate::sessions) sort: Sort,
}

impl<S: Send + Sync> FromRequestParts<S> for Listing {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_str(parts.uri.query().unwrap_or_default()).unwrap_or_default();
        let (mut metadata, mut others) = (Map::new(), Vec::new());
        for (name, value) in pairs {
            let Some(key) = metadata_key(&name) else {
                others.push((name, value));
                continue;
            };
            if value.contains('\0') || key.contains('\0') {
                return Err(Problem::invalid("metadata", text::TextError::Nul));
            }
            if metadata.insert(key.to_owned(), Value::String(value)).is_some() {
                return Err(Problem::invalid(name, "is given more than once; give one value"));
            }
        }
        let others = serde_urlencoded::to_string(others).unwrap_or_default();
        let (mut of_others, ()) = Request::new(()).into_parts();
        of_others.uri = format!("/?{others}").parse().map_err(|_| Problem::unreadable("The query cannot be read"))?;
        let Query(query) = Query::<ListQuery>::from_request_parts(&mut of_others, state).await?;
        let fields = FilterFields {
            session_type: query.session_type,
            component_id: query.component_id.clone(),
            user_id: None,
            session_name: query.session_name.clone(),
            start_timestamp: query.start_timestamp,
            end_timestamp: query.end_timestamp,
            updated_after: query.updated_after,
            updated_before: query.updated_before,
            metadata: None,
            q: query.q.clone(),
            archived: query.archived.unwrap_or_default(),
            pinned: query.pinned,
            has_summary: query.has_summary,
        };
        // A query has no types: `metadata.step=1` means the number as well as the text.
        let metadata = metadata.into_iter().map(|(key, value)| {
            let as_json = value.as_str().and_then(|text| serde_json::from_str(text).ok()).filter(is_scalar);
            (key, [Some(value), as_json].into_iter().flatten().collect())
        });
        let filter = fields.check("", metadata.collect())?;
        let sort = Sort { by: query.sort_by.unwrap_or_default(), order: query.sort_order.unwrap_or_default() };
        Ok(Self { query, filter, sort })
    }
}

/// `metadata.key`, or as `OpenAPI` writes the fields of an object: `metadata[key]`.
fn metadata_key(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("metadata")?;
    rest.strip_prefix('.').or_else(|| rest.strip_prefix('[')?.strip_suffix(']'))
}

fn is_scalar(value: &Value) -> bool {
    !value.is_array() && !value.is_object()
}

/// The filters of the list, in a JSON body.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FilterFields {
    #[serde(rename = "type", alias = "session_type", default, deserialize_with = "of_body")]
    session_type: Option<SessionType>,
    #[serde(default)]
    component_id: Option<String>,
    #[serde(default)]
    pub(in crate::sessions) user_id: Option<UserId>,
    #[serde(default)]
    #[schema(min_length = 1)]
    session_name: Option<String>,
    /// Unix seconds or RFC 3339, as the other times.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 253_402_300_799_i64)]
    start_timestamp: Option<Moment>,
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 253_402_300_799_i64)]
    end_timestamp: Option<Moment>,
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 253_402_300_799_i64)]
    updated_after: Option<Moment>,
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 253_402_300_799_i64)]
    updated_before: Option<Moment>,
    /// Texts, numbers, booleans or null.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    #[serde(default)]
    #[schema(min_length = 1, max_length = 500)]
    q: Option<String>,
    #[serde(default, deserialize_with = "archived")]
    archived: Archived,
    #[serde(default)]
    pinned: Option<bool>,
    /// Sessions that have been summarized, or those that have not.
    #[serde(default)]
    has_summary: Option<bool>,
}

/// In JSON `true` and `false` are no texts.
fn archived<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Archived, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Bool(true) => Ok(Archived::True),
        Value::Bool(false) | Value::Null => Ok(Archived::False),
        other => serde_json::from_value(other)
            .map_err(|_| serde::de::Error::custom("is none of true, false and \"all\"; give one of these")),
    }
}

impl FilterFields {
    /// The filter of a body; `pointer` is where it stands.
    pub(super) fn into_filter(mut self, pointer: &str) -> Result<SessionFilter, Problem> {
        let metadata = self.metadata.take().unwrap_or_default();
        if let Some((key, _)) = metadata.iter().find(|(_, value)| !is_scalar(value)) {
            let pointer = format!("{pointer}/metadata/{}", text::escape_pointer(key));
            return Err(Problem::invalid(pointer, "is no text, number, boolean or null; give one of these"));
        }
        // In a query it is a field that was left empty; here it may be a variable that was, and the rest would go.
        for (name, text) in [("session_name", &self.session_name), ("q", &self.q)] {
            if text.as_deref() == Some("") {
                return Err(Problem::invalid(format!("{pointer}/{name}"), "is empty; leave it out, or give a text"));
            }
        }
        self.check(pointer, metadata.into_iter().map(|(key, value)| (key, vec![value])).collect())
    }

    fn check(self, pointer: &str, metadata: BTreeMap<String, Vec<Value>>) -> Result<SessionFilter, Problem> {
        let at = |name: &str| if pointer.is_empty() { name.to_owned() } else { format!("{pointer}/{name}") };
        let ranges = [
            ("start_timestamp", self.start_timestamp, "end_timestamp", self.end_timestamp),
            ("updated_after", self.updated_after, "updated_before", self.updated_before),
        ];
        for (from, begin, until, end) in ranges {
            if begin.zip(end).is_some_and(|(begin, end)| begin.begin() > end.end()) {
                return Err(Problem::invalid(at(from), format!("is after {until}; exchange them")));
            }
        }
        if metadata.len() > MAX_METADATA_KEYS {
            return Err(Problem::invalid(
                at("metadata"),
                format!("has more than {MAX_METADATA_KEYS} keys; give fewer"),
            ));
        }
        let search = self.q.filter(|q| !q.is_empty());
        if let Some(search) = &search {
            if search.chars().count() > MAX_SEARCH_CHARS {
                return Err(Problem::invalid(
                    at("q"),
                    format!("is longer than {MAX_SEARCH_CHARS} characters; give less"),
                ));
            }
            if !search.chars().any(char::is_alphanumeric) {
                return Err(Problem::invalid(at("q"), "holds no word to search for; give one"));
            }
        }
        let filter = SessionFilter {
            session_type: self.session_type,
            component_id: self.component_id,
            session_name: self.session_name.filter(|name| !name.is_empty()),
            created_from: self.start_timestamp.map(Moment::begin),
            created_until: self.end_timestamp.map(Moment::end),
            updated_from: self.updated_after.map(Moment::begin),
            updated_until: self.updated_before.map(Moment::end),
            metadata,
            search,
            archived: self.archived,
            pinned: self.pinned,
            has_summary: self.has_summary,
        };
        if filter.alternatives().iter().any(|alternative| alternative.wanted.is_empty()) {
            // Nearly every session has a message without a word.
            return Err(Problem::invalid(at("q"), "only says what to leave out; give a word to find beside it"));
        }
        Ok(filter)
    }
}
