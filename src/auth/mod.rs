//! Who calls, and what they may see.
//!
//! [`Caller`] is made once per request, by its handler; [`Scope`] is what every statement on owned rows filters by.
//! There are no credentials yet: a caller is who they say they are, as on the wire without authentication.
//!
//! *Architecture Invariant:* no function on owned rows goes without a [`Scope`] or a [`Caller`], so there is no
//! unscoped helper to misuse.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::text::{self, TextError};

/// A user of the product that calls us, as that product names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, example = "alice@example.com", min_length = 1, max_length = 255)]
pub struct UserId(String);

impl UserId {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An id that was checked when it was stored.
    pub fn stored(id: String) -> Self {
        Self(id)
    }
}

impl TryFrom<String> for UserId {
    type Error = TextError;

    fn try_from(value: String) -> Result<Self, TextError> {
        text::check_id(&value)?;
        Ok(Self(value))
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The rows that a statement may see. What is outside does not exist for the caller: 404.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    User(UserId),
}

impl Scope {
    /// As a statement's parameter: null sees everything.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::User(user) => Some(user.as_str()),
        }
    }
}

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    user: Option<UserId>,
}

impl Caller {
    /// A caller who says to act for `user`, or for nobody in particular.
    pub fn claiming(user: Option<UserId>) -> Self {
        Self { user }
    }

    /// Whom new rows belong to.
    pub fn user(&self) -> Option<&UserId> {
        self.user.as_ref()
    }

    /// Whether a session of `owner` may be continued: it is the caller's, or nobody's.
    pub fn may_continue(&self, owner: Option<&UserId>) -> bool {
        owner.is_none() || owner == self.user.as_ref()
    }

    /// What the caller may read and change.
    pub fn scope(&self) -> Scope {
        self.user.clone().map_or(Scope::All, Scope::User)
    }
}
