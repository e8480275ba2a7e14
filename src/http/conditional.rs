//! `ETag` and `If-Match`: a change that was made from an older version is refused.

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use utoipa::IntoParams;

use super::Problem;

/// The version of what an answer shows: `"…"`, a strong one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityTag(String);

impl EntityTag {
    /// `opaque` is of visible ASCII without quotes.
    pub fn new(opaque: impl std::fmt::Display) -> Self {
        Self(format!("\"{opaque}\""))
    }
}

/// An answer with the version of what it shows.
#[derive(Debug)]
pub struct Tagged<T>(pub EntityTag, pub T);

impl<T> Tagged<T> {
    pub fn map<U>(self, show: impl FnOnce(T) -> U) -> Tagged<U> {
        Tagged(self.0, show(self.1))
    }
}

impl<T: IntoResponse> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        if let Ok(tag) = HeaderValue::try_from(self.0.0) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

/// What the caller last saw (RFC 9110, 13.1.1), in the contract as well as in handlers.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IfMatch {
    /// The `ETag` of the version that the change is made from. If the session has changed since: 412.
    #[param(rename = "If-Match", value_type = Option<String>, pattern = r#"^(\*|"[!#-~]*")$"#)]
    if_match: Option<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Any,
    OneOf(Vec<EntityTag>),
}

impl IfMatch {
    /// 412 unless `current` is among what the caller named.
    pub fn check(&self, current: &EntityTag) -> Result<(), Problem> {
        match &self.if_match {
            Some(Condition::OneOf(tags)) if !tags.contains(current) => Err(Problem::new(
                StatusCode::PRECONDITION_FAILED,
                format!("It has changed: it is at version {} now. Read it again and repeat the change.", current.0),
            )),
            _ => Ok(()),
        }
    }

    /// Whether there is anything to check.
    pub fn is_given(&self) -> bool {
        self.if_match.is_some()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = Vec::new();
        for value in parts.headers.get_all(header::IF_MATCH) {
            values.push(value.to_str().map_err(|_| malformed())?.trim());
        }
        let if_match = match values.as_slice() {
            [] => None,
            ["*"] => Some(Condition::Any),
            lists => {
                let tags = lists.iter().map(|list| parse_tags(list)).collect::<Option<Vec<_>>>();
                Some(Condition::OneOf(tags.ok_or_else(malformed)?.concat()))
            }
        };
        Ok(Self { if_match })
    }
}

fn malformed() -> Problem {
    Problem::invalid(
        "If-Match",
        "is neither * nor a list of entity tags; give the ETag as you received it, with quotes",
    )
}

/// The strong tags of a list. Weak ones are read, but match nothing: the comparison has to be strong.
fn parse_tags(list: &str) -> Option<Vec<EntityTag>> {
    let mut tags = Vec::new();
    let mut rest = list.trim();
    while !rest.is_empty() {
        let (is_weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |quoted| (true, quoted));
        let (opaque, after) = quoted.strip_prefix('"')?.split_once('"')?;
        if !opaque.bytes().all(|byte| byte == b'!' || (b'#'..=b'~').contains(&byte)) {
            return None;
        }
        if !is_weak {
            tags.push(EntityTag::new(opaque));
        }
        let after = after.trim_start();
        // Elements of a list may be empty.
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start_matches([',', ' ', '\t']),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    (!list.trim().is_empty()).then_some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(list: &str) -> Option<Vec<String>> {
        Some(parse_tags(list)?.into_iter().map(|tag| tag.0).collect())
    }

    #[test]
    fn a_list_of_tags_is_read_and_weak_ones_match_nothing() {
        for (list, expected) in [
            (r#""a""#, vec![r#""a""#]),
            (r#" "a" , "b,c",,"" "#, vec![r#""a""#, r#""b,c""#, r#""""#]),
            (r#"W/"a", "b""#, vec![r#""b""#]),
            (r#"W/"a""#, vec![]),
        ] {
            assert_eq!(tags(list).unwrap(), expected, "{list}");
        }
    }

    #[test]
    fn what_is_no_list_of_tags_is_refused() {
        for list in ["", "a", r#""a"#, r#""a" "b""#, r#"w/"a""#, r#"*, "a""#, r#""a b""#, ","] {
            assert_eq!(tags(list), None, "{list}");
        }
    }
}
