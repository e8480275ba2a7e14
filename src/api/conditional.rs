//! `ETag` and `If-Match` as headers.

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};

use super::Problem;
use crate::model::version::{IfMatch, Tagged};

impl<T: IntoResponse> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        if let Ok(tag) = HeaderValue::try_from(self.0.to_string()) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let malformed = || {
            let detail = "is neither * nor a list of entity tags; give the ETag as you received it, with quotes";
            Problem::invalid("If-Match", detail)
        };
        let mut values = Vec::new();
        for value in parts.headers.get_all(header::IF_MATCH) {
            values.push(value.to_str().map_err(|_| malformed())?.trim());
        }
        Self::parse(&values).ok_or_else(malformed)
    }
}
