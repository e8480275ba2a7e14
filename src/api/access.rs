//! Who makes a request, and for which user.
//!
//! [`identify`] is the only place that creates a [`Caller`], for all routes. A handler that needs the
//! caller extracts `Caller`, or [`Asked`] if the query may name a user. The public paths in [`OPEN`] get no caller, so
//! a handler there cannot reach any user's rows.

use anyhow::anyhow;
use axum::{
    extract::{FromRequestParts, Request},
    http::{Uri, request::Parts},
};
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;

use super::{
    Problem,
    extract::{never_empty, read_query},
};
use crate::model::{Caller, UserId};

/// Public paths, with their subpaths.
const OPEN: [&str; 5] = ["/health", "/ready", "/info", "/docs", "/openapi.json"];

/// Adds the [`Caller`] to the request, except on public paths.
pub fn identify(request: &mut Request) {
    if !is_open(request.uri().path()) {
        request.extensions_mut().insert(Caller::BACK_END);
    }
}

fn is_open(path: &str) -> bool {
    let is_below = |open: &str| path.strip_prefix(open).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    path == "/" || OPEN.into_iter().any(is_below)
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get().cloned();
        caller.ok_or_else(|| {
            anyhow!("a handler of {} wants to know who asks, and nobody is identified there", parts.uri.path()).into()
        })
    }
}

/// The query parameters, and the caller acting for the user that the query names, if any.
#[derive(Debug)]
pub struct Asked<T> {
    pub caller: Caller,
    pub query: T,
}

/// The user for whom a request is made.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ForUser {
    /// The user for whom the request is made. Data of other users is not found. Default: all users.
    #[serde(default, deserialize_with = "never_empty")]
    user_id: Option<UserId>,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        Self::read(caller, &parts.uri).await
    }
}

impl<T: DeserializeOwned> Asked<T> {
    /// Reads the query of `uri`, for a request of `caller`.
    pub async fn read(caller: Caller, uri: &Uri) -> Result<Self, Problem> {
        let ForUser { user_id } = read_query(uri).await?;
        let caller = caller.acting_for(user_id, "user_id")?;
        Ok(Self { caller, query: read_query(&without_user(uri)).await? })
    }
}

fn without_user(uri: &Uri) -> Uri {
    let is_user = |pair: &str| {
        let named: Vec<(String, String)> = serde_urlencoded::from_str(pair).unwrap_or_default();
        named.iter().any(|(name, _)| name == "user_id")
    };
    let query = uri.query().unwrap_or_default();
    let rest: Vec<&str> = query.split('&').filter(|pair| !is_user(pair)).collect();
    // The remaining pairs are a valid query.
    Uri::try_from(format!("/?{}", rest.join("&"))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, http::StatusCode, routing::get};
    use tower::ServiceExt;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct PageQuery {
        page: Option<u32>,
    }

    async fn say_for_whom(Asked { caller, query }: Asked<PageQuery>) -> String {
        let user = caller.user().map_or("nobody", UserId::as_str);
        format!("{user} {}", query.page.unwrap_or_default())
    }

    async fn ask(uri: &str) -> (StatusCode, String) {
        let router = Router::new()
            .route("/sessions", get(say_for_whom))
            .route("/healthy", get(say_for_whom))
            .route("/health", get(say_for_whom));
        let mut request = Request::get(uri).body(Body::empty()).unwrap();
        identify(&mut request);
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_query_says_for_whom_a_request_is_made() {
        for (uri, said) in [
            ("/sessions", "nobody 0"),
            ("/sessions?user_id=a%26b&page=2", "a&b 2"),
            ("/sessions?page=2&us%65r_id=alice", "alice 2"),
        ] {
            assert_eq!(ask(uri).await, (StatusCode::OK, said.to_owned()), "{uri}");
        }
        for uri in ["/sessions?user_id=", "/sessions?user_id=a&user_id=b", "/sessions?user=a", "/sessions?user_id=%00"]
        {
            assert_eq!(ask(uri).await.0, StatusCode::UNPROCESSABLE_ENTITY, "{uri}");
        }
    }

    #[tokio::test]
    async fn nobody_is_identified_where_anybody_may_ask() {
        assert_eq!(ask("/health").await.0, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(ask("/healthy").await.0, StatusCode::OK);
    }

    #[test]
    fn a_request_is_made_for_one_user() {
        let user = |name: &str| Some(UserId::stored(name.into()));
        let alice = Caller::BACK_END.acting_for(user("alice"), "user_id").unwrap();
        assert_eq!(alice.clone().acting_for(None, "/user_id").unwrap(), alice);
        assert_eq!(alice.clone().acting_for(user("alice"), "/user_id").unwrap(), alice);
        assert!(alice.acting_for(user("bob"), "/user_id").is_err());
    }
}
