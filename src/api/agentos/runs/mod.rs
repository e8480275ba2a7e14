//! `/agents/{id}/runs`: `routes` starts, lists, shows and cancels runs, `continuing` continues one, `resuming` resumes
//! a stream. `request` is the body as JSON, form or multipart, `encode` and `stream` are events, `wire` is all other
//! response JSON.

pub mod continuing;
pub mod encode;
pub mod request;
pub mod resuming;
pub mod routes;
pub mod stream;
pub mod wire;
