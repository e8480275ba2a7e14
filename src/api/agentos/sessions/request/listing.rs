//! The filters of the session list, in its query and in the body of a deletion.

use std::collections::BTreeMap;

use axum::{
    extract::FromRequestParts,
    http::{Uri, request::Parts},
};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::{
    given_type::{of_body, of_query},
    moment::{self, Moment},
};
use crate::{
    api::{
        Asked, Problem,
        extract::{absent_if_empty, never_empty},
    },
    model::{Caller, SessionType, UserId, paging::SortOrder},
    sessions::filter::{Archived, SessionFilter, Sort, SortBy},
    text,
};

const MAX_SEARCH_CHARS: usize = 500;
const MAX_METADATA_KEYS: usize = 16;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// The type, case-insensitive; also `session_type`.
    #[serde(rename = "type", alias = "session_type", default, deserialize_with = "of_query")]
    #[param(rename = "type")]
    session_type: Option<SessionType>,
    /// Only sessions with this agent, team or workflow.
    #[serde(default, deserialize_with = "absent_if_empty")]
    component_id: Option<String>,
    /// A substring of the name, case-insensitive.
    #[serde(default, deserialize_with = "absent_if_empty")]
    session_name: Option<String>,
    /// Created at this time or later: Unix seconds or RFC 3339.
    #[serde(default, deserialize_with = "absent_if_empty")]
    #[param(schema_with = moment::schema)]
    start_timestamp: Option<Moment>,
    /// Created at this time or earlier.
    #[serde(default, deserialize_with = "absent_if_empty")]
    #[param(schema_with = moment::schema)]
    end_timestamp: Option<Moment>,
    /// Last changed at this time or later. A run changes its session when it ends.
    #[serde(default, deserialize_with = "absent_if_empty")]
    #[param(schema_with = moment::schema)]
    updated_after: Option<Moment>,
    /// Last changed at this time or earlier.
    #[serde(default, deserialize_with = "absent_if_empty")]
    #[param(schema_with = moment::schema)]
    updated_before: Option<Moment>,
    /// Full-text search in messages and the name: `"exact phrase"`, `-without`, `this or that`. Each result has an
    /// `excerpt`. Text written without spaces, as in Chinese and Japanese, matches by any substring.
    #[serde(default, deserialize_with = "absent_if_empty")]
    #[param(max_length = 500)]
    q: Option<String>,
    /// Default: `false`, archived sessions are left out.
    #[serde(default, deserialize_with = "never_empty")]
    #[param(inline)]
    archived: Option<Archived>,
    pinned: Option<bool>,
    /// Only sessions with a summary, or only those without.
    has_summary: Option<bool>,
    #[param(value_type = Option<i64>, minimum = 1, maximum = 4_294_967_295_i64, default = 1)]
    pub(crate) page: Option<u32>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the previous page, instead of `page`. Every page is equally fast, and no session is
    /// repeated or skipped when others are created or deleted between pages.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(crate) cursor: Option<String>,
    /// `false` skips counting; `meta` then has no totals.
    #[param(default = true)]
    pub(crate) include_total: Option<bool>,
    /// Default: `created_at`.
    #[serde(default, deserialize_with = "never_empty")]
    #[param(inline)]
    sort_by: Option<SortBy>,
    /// Default: `desc`.
    #[serde(default, deserialize_with = "never_empty")]
    #[param(inline)]
    sort_order: Option<SortOrder>,
    /// The database id from `/config`; there is only one.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(crate) db_id: Option<String>,
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub(crate) table: Option<String>,
}

/// The query of the list with its `metadata.<key>=<value>` parameters, whose names [`ListQuery`] cannot declare.
#[derive(Debug)]
pub struct Listing {
    pub(crate) caller: Caller,
    pub(crate) query: ListQuery,
    pub(crate) filter: SessionFilter,
    pub(crate) sort: Sort,
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
        let others: Uri = format!("/?{others}").parse().map_err(|_| Problem::unreadable("The query cannot be read"))?;
        let caller = Caller::from_request_parts(parts, state).await?;
        let Asked { caller, query } = Asked::<ListQuery>::read(caller, &others).await?;
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
        // Query values are untyped: `metadata.step=1` matches both the number and the string.
        let metadata = metadata.into_iter().map(|(key, value)| {
            let as_json = value.as_str().and_then(|text| serde_json::from_str(text).ok()).filter(is_scalar);
            (key, [Some(value), as_json].into_iter().flatten().collect())
        });
        let filter = fields.check("", metadata.collect())?;
        let sort = Sort { by: query.sort_by.unwrap_or_default(), order: query.sort_order.unwrap_or_default() };
        Ok(Self { caller, query, filter, sort })
    }
}

/// `metadata.key`, or `metadata[key]`, the `deepObject` style of `OpenAPI`.
fn metadata_key(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("metadata")?;
    rest.strip_prefix('.').or_else(|| rest.strip_prefix('[')?.strip_suffix(']'))
}

fn is_scalar(value: &Value) -> bool {
    !value.is_array() && !value.is_object()
}

/// The filters of the session list, in a JSON body.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilterFields {
    #[serde(rename = "type", alias = "session_type", default, deserialize_with = "of_body")]
    session_type: Option<SessionType>,
    #[serde(default)]
    component_id: Option<String>,
    #[serde(default)]
    pub(crate) user_id: Option<UserId>,
    #[serde(default)]
    #[schema(min_length = 1)]
    session_name: Option<String>,
    /// Unix seconds or RFC 3339, as for the other times.
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
    /// Values are strings, numbers, booleans or null.
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
    /// Only sessions with a summary, or only those without.
    #[serde(default)]
    has_summary: Option<bool>,
}

/// JSON also allows the booleans `true` and `false`, not only the strings.
fn archived<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Archived, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Bool(true) => Ok(Archived::True),
        Value::Bool(false) | Value::Null => Ok(Archived::False),
        other => serde_json::from_value(other)
            .map_err(|_| serde::de::Error::custom("is none of true, false and \"all\"; give one of these")),
    }
}

impl FilterFields {
    /// Converts the filter of a body; `pointer` is its JSON pointer.
    pub(crate) fn into_filter(mut self, pointer: &str) -> Result<SessionFilter, Problem> {
        let metadata = self.metadata.take().unwrap_or_default();
        if let Some((key, _)) = metadata.iter().find(|(_, value)| !is_scalar(value)) {
            let pointer = format!("{pointer}/metadata/{}", text::escape_pointer(key));
            return Err(Problem::invalid(pointer, "is no text, number, boolean or null; give one of these"));
        }
        // In a query an empty value is a form field that was left empty. In a body it may be an unset variable in the
        // caller's code, and without this condition too many sessions would be deleted.
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
            // Nearly every session has a message without the excluded words, so this would match almost everything.
            return Err(Problem::invalid(at("q"), "only says what to leave out; give a word to find beside it"));
        }
        Ok(filter)
    }
}
