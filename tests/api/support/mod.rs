//! What all tests start from: a [`TestApp`] with a database and a model of its own.

mod answer;
mod app;
mod costs;
mod database;
mod own_postgres;
pub(crate) mod scripted_model;
pub(crate) mod server;

pub(crate) use answer::{Answer, ServerEvent};
pub(crate) use app::TestApp;
pub(crate) use costs::assert_short_and_long_cost_the_same;
pub(crate) use database::{TestDatabase, empty_database, test_database};
pub(crate) use own_postgres::OwnPostgres;
