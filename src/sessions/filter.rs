//! Filter and order of the sessions to list, count or delete.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::model::{Session, SessionType, paging::SortOrder};

/// All given conditions must hold. Bounds are inclusive.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SessionFilter {
    pub session_type: Option<SessionType>,
    pub component_id: Option<String>,
    /// Substring of the name, case-insensitive; `%` and `_` are literal.
    pub session_name: Option<String>,
    pub created_from: Option<DateTime<Utc>>,
    pub created_until: Option<DateTime<Utc>>,
    pub updated_from: Option<DateTime<Utc>>,
    pub updated_until: Option<DateTime<Utc>>,
    /// Per key, the accepted values: the session must have one of them.
    pub metadata: BTreeMap<String, Vec<Value>>,
    /// What a message or the name must match; `alternatives` has the syntax.
    pub search: Option<String>,
    pub archived: Archived,
    pub pinned: Option<bool>,
    pub has_summary: Option<bool>,
}

impl SessionFilter {
    /// Whether every session that is not archived matches.
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

    /// Whether anything but the bounds of `created_at` and the search narrows the filter.
    pub(super) fn is_of_some(&self) -> bool {
        let others = Self { created_from: None, created_until: None, search: None, ..self.clone() };
        !others.is_empty()
    }

    /// Patterns for `ilike`: each has to match the name.
    pub(super) fn name_patterns(&self) -> Vec<String> {
        self.session_name.as_deref().map(containing).into_iter().collect()
    }

    /// The parsed search, as it is matched against names. Empty without a search.
    pub fn alternatives(&self) -> Vec<Alternative<'_>> {
        self.search.as_deref().map(alternatives).unwrap_or_default()
    }
}

/// A text matches if it contains all `wanted` words and phrases, and none of the `unwanted` ones.
#[derive(Debug, Default, PartialEq)]
pub struct Alternative<'a> {
    pub wanted: Vec<&'a str>,
    pub unwanted: Vec<&'a str>,
}

/// Parses a search: `"in this order"` is a phrase, `-without` excludes, `this or that` has alternatives.
pub fn alternatives(search: &str) -> Vec<Alternative<'_>> {
    let mut alternatives = vec![Alternative::default()];
    let mut rest = search.trim_start();
    while !rest.is_empty() {
        let unsigned = rest.trim_start_matches('-');
        // `--word` is an option and a lone `-` a dash: neither excludes anything.
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

/// Writes the search with every part quoted, so that PostgreSQL's `websearch_to_tsquery` cannot parse it differently.
pub(super) fn to_websearch(alternatives: &[Alternative<'_>]) -> String {
    let all_of = |alternative: &Alternative<'_>| {
        let wanted = alternative.wanted.iter().map(|part| format!("\"{part}\""));
        let unwanted = alternative.unwanted.iter().map(|part| format!("-\"{part}\""));
        wanted.chain(unwanted).collect::<Vec<_>>().join(" ")
    };
    alternatives.iter().map(all_of).collect::<Vec<_>>().join(" or ")
}

/// The `like` pattern for texts that contain `part` literally.
pub(super) fn containing(part: &str) -> String {
    let literal = part.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{literal}%")
}

/// Which sessions to list: `false`, the default, those that are not archived; `true` the archived ones; `all` both.
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
    /// The position of `session` in this order.
    pub(super) fn place_of(self, session: &Session) -> Place {
        let key = match self.by {
            SortBy::CreatedAt => SortKey::Time(session.created_at.timestamp_micros()),
            SortBy::UpdatedAt => SortKey::Time(session.updated_at.timestamp_micros()),
            SortBy::SessionName => SortKey::Name(session.session_name.clone().unwrap_or_default()),
        };
        Place { key, session_id: session.session_id.to_string() }
    }
}

/// A position in an order; a page begins after it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    pub(super) key: SortKey,
    pub(super) session_id: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum SortKey {
    /// Microseconds since 1970: PostgreSQL's precision.
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
