//! The caller of a request, and the rows that it may access.

use super::{Error, UserId};

/// The rows that a statement may access. All other rows do not exist for the caller: 404.
///
/// Full access is never encoded as a missing user: it is a variant of its own, `Tenant` or `System` with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All rows of the installation, for a caller that acts for no user: an application's own back end.
    Tenant,
    /// The rows of one user.
    User(UserId),
    /// All rows, for the server's own work. The reason is for readers of the code.
    System(&'static str),
}

impl Scope {
    /// The user as an SQL parameter. Null means all rows.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Tenant | Self::System(_) => None,
            Self::User(user) => Some(user.as_str()),
        }
    }
}

/// Who makes a request, and on behalf of which user. The layer over all routes determines who; the request names the
/// user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    user: Option<UserId>,
}

impl Caller {
    /// An application's own back end: it may act for any user, and acts for no particular user by default.
    pub const BACK_END: Self = Self { user: None };

    /// The same caller, acting for `user`, whom the request names in `field`. An error if it already acts for another
    /// user.
    pub fn acting_for(self, user: Option<UserId>, field: &str) -> Result<Self, Error> {
        match (self.user, user) {
            (Some(one), Some(other)) if one != other => {
                Err(Error::invalid(field, "is another user than that of the query; leave one of the two out"))
            }
            (one, other) => Ok(Self { user: one.or(other) }),
        }
    }

    /// The owner of new rows.
    pub fn user(&self) -> Option<&UserId> {
        self.user.as_ref()
    }

    /// Whether a session of `owner` may be continued: it is the caller's, or nobody's.
    pub fn may_continue(&self, owner: Option<&UserId>) -> bool {
        owner.is_none() || owner == self.user.as_ref()
    }

    /// The rows that the caller may read and change.
    pub fn scope(&self) -> Scope {
        self.user.clone().map_or(Scope::Tenant, Scope::User)
    }
}
