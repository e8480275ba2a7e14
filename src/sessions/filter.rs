//! Which sessions to list, to count or to delete, and in which order.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::model::{Session, SessionType};
use crate::http::paging::SortOrder;

/// All that is given has to hold. Bounds are inclusive.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SessionFilter {
    pub session_type: Option<SessionType>,
    pub component_id: Option<String>,
    /// A part of the name, in any case; `%` and `_` are ordinary characters.
    pub session_name: Option<String>,
    pub created_from: Option<DateTime<Utc>>,
    pub created_until: Option<DateTime<Utc>>,
    pub updated_from: Option<DateTime<Utc>>,
    pub updated_until: Option<DateTime<Utc>>,
    /// For each key the values of which it has to have one.
    pub metadata: BTreeMap<String, Vec<Value>>,
    /// What has to be in a message, or in the name.
    pub search: Option<String>,
    pub archived: Archived,
    pub pinned: Option<bool>,
    pub has_summary: Option<bool>,
}

impl SessionFilter {
    /// Whether every session that is not archived fits.
    pub fn is_empty(&self) -> bool {
        let Self {
            session_type,
            component_id,
            session_name,
            created_from,
            created_until,
            updated_from,
            updated_until,
            metadata,
            search,
            archived,
            pinned,
            has_summary,
        } = self;
        let is_narrowed = session_type.is_some()
            || component_id.is_some()
            || session_name.is_some()
            || [created_from, created_until, updated_from, updated_until].into_iter().any(Option::is_some)
            || !metadata.is_empty()
            || search.is_some()
            || *archived == Archived::True
            || pinned.is_some()
            || has_summary.is_some();
        !is_narrowed
    }

    /// Whether sessions are left out by something else than when they began and what is searched for.
    pub(super) fn is_of_some(&self) -> bool {
        let others = Self { created_from: None, created_until: None, search: None, ..self.clone() };
        !others.is_empty()
    }

    /// Patterns for `ilike`: each has to match the name.
    pub(super) fn name_patterns(&self) -> Vec<String> {
        self.session_name.as_deref().map(containing).into_iter().collect()
    }

    /// What is searched for, as names are asked for it; nothing where there is no search.
    pub(super) fn alternatives(&self) -> Vec<Alternative<'_>> {
        self.search.as_deref().map(alternatives).unwrap_or_default()
    }
}

/// Words and phrases of which a text has to have all that are wanted, and none of the others.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Alternative<'a> {
    pub wanted: Vec<&'a str>,
    pub unwanted: Vec<&'a str>,
}

/// Reads a search: `"in this order"`, `-without`, `this or that`.
fn alternatives(search: &str) -> Vec<Alternative<'_>> {
    let mut alternatives = vec![Alternative::default()];
    let mut rest = search.trim_start();
    while !rest.is_empty() {
        let unsigned = rest.trim_start_matches('-');
        // Two dashes begin an option, and one by itself is a dash.
        let is_wanted = rest.len() - unsigned.len() != 1 || unsigned.starts_with(char::is_whitespace);
        let (part, behind) = match unsigned.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => unsigned.split_at(unsigned.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(unsigned.len())),
        };
        let is_or = is_wanted && part.eq_ignore_ascii_case("or") && !unsigned.starts_with('"');
        let part = part.trim_matches(|c: char| c.is_whitespace() || "()!&|".contains(c));
        if is_or {
            alternatives.push(Alternative::default());
        } else if let Some(Alternative { wanted, unwanted }) = alternatives.last_mut()
            && !part.is_empty()
        {
            if is_wanted { wanted } else { unwanted }.push(part);
        }
        rest = behind.trim_start();
    }
    alternatives.retain(|alternative| *alternative != Alternative::default());
    alternatives
}

/// The same as a search that leaves PostgreSQL's `websearch_to_tsquery` nothing to read in another way.
pub(super) fn to_websearch(alternatives: &[Alternative<'_>]) -> String {
    let all_of = |alternative: &Alternative<'_>| {
        let wanted = alternative.wanted.iter().map(|part| format!("\"{part}\""));
        let unwanted = alternative.unwanted.iter().map(|part| format!("-\"{part}\""));
        wanted.chain(unwanted).collect::<Vec<_>>().join(" ")
    };
    alternatives.iter().map(all_of).collect::<Vec<_>>().join(" or ")
}

/// The pattern of texts that contain `part`.
pub(super) fn containing(part: &str) -> String {
    let literal = part.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{literal}%")
}

/// Archived sessions are not listed unless they are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Archived {
    True,
    #[default]
    False,
    /// Both.
    All,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SortBy {
    #[default]
    CreatedAt,
    UpdatedAt,
    SessionName,
}

/// A total order: the field, then the id.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Sort {
    pub by: SortBy,
    pub order: SortOrder,
}

impl Sort {
    /// Where `session` stands in this order.
    pub(super) fn place_of(self, session: &Session) -> Place {
        let key = match self.by {
            SortBy::CreatedAt => SortKey::Time(session.created_at.timestamp_micros()),
            SortBy::UpdatedAt => SortKey::Time(session.updated_at.timestamp_micros()),
            SortBy::SessionName => SortKey::Name(session.session_name.clone().unwrap_or_default()),
        };
        Place { key, session_id: session.session_id.to_string() }
    }
}

/// A place in an order; a page begins after it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    pub(super) key: SortKey,
    pub(super) session_id: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum SortKey {
    /// Microseconds since 1970, which is what PostgreSQL keeps.
    Time(i64),
    Name(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_in_a_name_are_ordinary_characters() {
        let filter = SessionFilter { session_name: Some(r"100%_\".into()), ..SessionFilter::default() };
        assert_eq!(filter.name_patterns(), [r"%100\%\_\\%"]);
    }

    #[test]
    fn a_search_is_taken_apart_into_what_is_wanted_and_what_is_not() {
        let all = |wanted: &[&'static str], unwanted: &[&'static str]| Alternative {
            wanted: wanted.to_vec(),
            unwanted: unwanted.to_vec(),
        };
        for (search, expected) in [
            (r#" "lisbon trip"  -work 5% "#, vec![all(&["lisbon trip", "5%"], &["work"])]),
            (
                "tea milk or coffee OR -sugar",
                vec![all(&["tea", "milk"], &[]), all(&["coffee"], &[]), all(&[], &["sugar"])],
            ),
            (r#"-"earl grey" "or" well-known"#, vec![all(&["or", "well-known"], &["earl grey"])]),
            (r#"or - "" -"" or "open"#, vec![all(&["open"], &[])]),
            ("cargo --release (tea - milk)", vec![all(&["cargo", "release", "tea", "milk"], &[])]),
            ("", vec![]),
        ] {
            assert_eq!(alternatives(search), expected, "{search}");
        }
        assert_eq!(to_websearch(&alternatives(r#"tea -"earl grey" or milk"#)), r#""tea" -"earl grey" or "milk""#);
    }

    #[test]
    fn a_filter_that_leaves_nothing_out_is_empty() {
        assert!(SessionFilter::default().is_empty());
        assert!(SessionFilter { archived: Archived::All, ..SessionFilter::default() }.is_empty());
        assert!(!SessionFilter { archived: Archived::True, ..SessionFilter::default() }.is_empty());
        assert!(!SessionFilter { pinned: Some(false), ..SessionFilter::default() }.is_empty());
    }
}
