//! The order of a list.

use chrono::DateTime;
use sqlx::{Postgres, QueryBuilder};

use super::{Part, conditions::Walked};
use crate::{
    model::paging::SortOrder,
    sessions::filter::{Place, Sort, SortBy, SortKey},
};

/// How a list is sorted, and where a page of it begins.
pub(super) struct Order<'a> {
    pub(super) walked: Walked,
    key: &'static str,
    id: &'static str,
    direction: &'static str,
    after: Option<&'a Place>,
}

impl<'a> Order<'a> {
    pub(super) fn new(sort: Sort, part: &'a Part) -> Self {
        let (walked, key, id) = match sort.by {
            SortBy::CreatedAt => (Walked::Labels, "l.created_at", "l.session_id"),
            SortBy::UpdatedAt => (Walked::Sessions, "s.updated_at", "s.session_id"),
            SortBy::SessionName => (Walked::Labels, "l.name", "l.session_id"),
        };
        let direction = match sort.order {
            SortOrder::Asc => "",
            SortOrder::Desc => " desc",
        };
        let after = match part {
            Part::After(place) => Some(place),
            Part::From { .. } => None,
        };
        Self { walked, key, id, direction, after }
    }

    /// `…, …`: id and key.
    pub(super) fn write_columns(&self, sql: &mut QueryBuilder<Postgres>) {
        sql.push(self.id).push(", ").push(self.key).push(" as key");
    }

    /// The same order on messages, if these hold the sort key.
    pub(super) fn of_messages(&self) -> Option<Self> {
        (self.key == "l.created_at").then_some(Self { key: "m.session_created_at", id: "m.session_id", ..*self })
    }

    /// ` and …`: only what comes after the cursor's position.
    pub(super) fn write_beyond(&self, sql: &mut QueryBuilder<Postgres>) {
        let Some(place) = self.after else { return };
        let beyond = if self.direction.is_empty() { ">" } else { "<" };
        sql.push(" and (").push(self.key).push(", ").push(self.id).push(") ").push(beyond).push(" (");
        match &place.key {
            SortKey::Time(micros) => sql.push_bind(DateTime::from_timestamp_micros(*micros).unwrap_or_default()),
            SortKey::Name(name) => sql.push_bind(name),
        };
        sql.push(", ").push_bind(&place.session_id).push(")");
    }

    pub(super) fn write(&self, sql: &mut QueryBuilder<Postgres>) {
        self.write_by(sql, self.key, self.id);
    }

    /// Like [`Self::write`], with other names for key and id.
    pub(super) fn write_by(&self, sql: &mut QueryBuilder<Postgres>, key: &str, id: &str) {
        sql.push(" order by ").push(key).push(self.direction).push(", ").push(id).push(self.direction);
    }
}
