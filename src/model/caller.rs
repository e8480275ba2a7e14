//! The caller of a request, and the rows that it may access.

use super::{Error, TenantId, UserId};

/// The rows that a statement may access: always of one tenant. All other rows do not exist for the caller: 404.
///
/// Full access is never encoded as a missing user: it is a variant of its own, `Tenant` or `System` with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All rows of the tenant, for a caller that acts for no user: an application's own back end.
    Tenant(TenantId),
    /// The rows of one user.
    User(TenantId, UserId),
    /// All rows of the tenant, for the server's own work. The reason is for readers of the code.
    System(TenantId, &'static str),
}

impl Scope {
    pub fn tenant_id(&self) -> &TenantId {
        match self {
            Self::Tenant(tenant) | Self::User(tenant, _) | Self::System(tenant, _) => tenant,
        }
    }

    /// The tenant as an SQL parameter.
    pub fn tenant(&self) -> &str {
        self.tenant_id().as_str()
    }

    /// The user as an SQL parameter. Null means all rows of the tenant.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Tenant(_) | Self::System(..) => None,
            Self::User(_, user) => Some(user.as_str()),
        }
    }
}

/// Who makes a request, and on behalf of which user. The layer over all routes determines who; the request names the
/// user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    tenant: TenantId,
    user: Option<UserId>,
}

impl Caller {
    /// An application's own back end: it may act for any user, and acts for no particular user by default.
    pub const BACK_END: Self = Self { tenant: TenantId::DEFAULT, user: None };

    /// The same caller, acting for `user`, whom the request names in `field`. An error if it already acts for another
    /// user.
    pub fn acting_for(self, user: Option<UserId>, field: &str) -> Result<Self, Error> {
        match (self.user, user) {
            (Some(one), Some(other)) if one != other => {
                Err(Error::invalid(field, "is another user than that of the query; leave one of the two out"))
            }
            (one, other) => Ok(Self { tenant: self.tenant, user: one.or(other) }),
        }
    }

    /// The tenant of new rows.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
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
        match &self.user {
            Some(user) => Scope::User(self.tenant.clone(), user.clone()),
            None => Scope::Tenant(self.tenant.clone()),
        }
    }
}
