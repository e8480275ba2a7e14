//! Optimistic concurrency (`ETag`, `If-Match`): a change that is based on an older version is refused.

use std::fmt;

use utoipa::IntoParams;

use super::{Error, ErrorKind};

/// A strong entity tag (`"…"`): the version of the resource in a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityTag(String);

impl EntityTag {
    /// `opaque` has to be visible ASCII without quotes.
    pub fn new(opaque: impl std::fmt::Display) -> Self {
        Self(format!("\"{opaque}\""))
    }
}

/// A response with the version of its resource.
#[derive(Debug)]
pub struct Tagged<T>(pub EntityTag, pub T);

impl<T> Tagged<T> {
    pub fn map<U>(self, show: impl FnOnce(T) -> U) -> Tagged<U> {
        Tagged(self.0, show(self.1))
    }
}

/// The `If-Match` header (RFC 9110, 13.1.1): the version that the caller last saw. For handlers and for the API
/// description.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IfMatch {
    /// The `ETag` of the version that the change is based on. If the session has changed since, the response is 412.
    #[param(rename = "If-Match", value_type = Option<String>, pattern = r#"^(\*|"[!#-~]*")$"#)]
    if_match: Option<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Any,
    OneOf(Vec<EntityTag>),
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl IfMatch {
    /// Parses the values of the header; `None` if they are malformed.
    pub fn parse(values: &[&str]) -> Option<Self> {
        let if_match = match values {
            [] => None,
            ["*"] => Some(Condition::Any),
            lists => {
                let tags = lists.iter().map(|list| parse_tags(list)).collect::<Option<Vec<_>>>();
                Some(Condition::OneOf(tags?.concat()))
            }
        };
        Some(Self { if_match })
    }

    /// Fails if the caller gave tags and `current` is not among them.
    pub fn check(&self, current: &EntityTag) -> Result<(), Error> {
        match &self.if_match {
            Some(Condition::OneOf(tags)) if !tags.contains(current) => Err(Error::new(
                ErrorKind::VersionMismatch,
                format!("It has changed: it is at version {} now. Read it again and repeat the change.", current.0),
            )),
            _ => Ok(()),
        }
    }

    /// Whether the request has the header.
    pub fn is_given(&self) -> bool {
        self.if_match.is_some()
    }
}

/// The strong tags of a list. Weak tags are parsed but match nothing: `If-Match` requires the strong comparison.
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
