//! What all tests start from: a [`TestApp`] with a database and a model of its own.

mod answer;
mod app;
mod database;
pub(crate) mod scripted_model;

pub(crate) use answer::{Answer, ServerEvent};
pub(crate) use app::TestApp;
pub(crate) use database::{TestDatabase, test_database};
