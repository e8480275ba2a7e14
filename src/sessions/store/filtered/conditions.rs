//! The conditions on the sessions of a list.

use serde_json::json;
use sqlx::{PgPool, Postgres, QueryBuilder, types::Json};

use super::labels;
use crate::{
    model::Scope,
    sessions::{
        filter::{Alternative, Archived, SessionFilter, SortBy, containing},
        store::{estimates::Estimates, words::Words},
    },
};

/// Where a search looks. Each place gets its own statement, because each has its own index: a statement on both at once
/// would have to find all hits before it could return the first.
#[derive(Clone, Copy)]
pub(super) enum Hit {
    Anything,
    Message,
    Name,
}

/// The table whose rows, or whose index, give a list its order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Walked {
    /// `session_labels l`: by time of creation or name. It has all that sessions are filtered by, except what changes
    /// with every run.
    Labels,
    /// `sessions s`: by time of the last change.
    Sessions,
}

/// How names and metadata are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// The planner sees the values, and may use an index for them.
    Shown,
    /// It plans for any value, so that one plan for all of them is worth caching.
    Hidden,
    /// Row by row, while the list is walked: no index is asked.
    Walked,
}

/// The sessions that match a filter.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    pub scope: &'a Scope,
    pub filter: &'a SessionFilter,
    /// The parsed search of the filter.
    pub words: Option<&'a Words<'a>>,
    has_few_labels: bool,
    /// Whether few sessions are within the bounds of a time by which the list is not sorted.
    has_short_time: bool,
}

/// The most sessions that are found and sorted instead of walking the list to them. Times of creation and of the last
/// change go together, so a walk by one of them may lead far before it comes to the bounds of the other.
const SHORT_TIME: f64 = 5_000.0;

impl<'a> Selection<'a> {
    /// `sorted_by` is `None` for what is only counted.
    pub async fn new(
        db: &PgPool,
        scope: &'a Scope,
        filter: &'a SessionFilter,
        words: Option<&'a Words<'a>>,
        sorted_by: Option<SortBy>,
    ) -> Result<Self, sqlx::Error> {
        let selection = Self { words, ..Self::unsearched(scope, filter) };
        let has_few_labels = labels::are_few(db, selection).await?;
        let has_short_time = match sorted_by {
            Some(SortBy::UpdatedAt) => {
                selection.has_few(db, selection.is_created_bounded(), Self::write_labels).await?
            }
            Some(_) => selection.has_few(db, selection.is_updated_bounded(), Self::write_updated).await?,
            None => false,
        };
        Ok(Self { has_few_labels, has_short_time, ..selection })
    }

    async fn has_few(
        self,
        db: &PgPool,
        is_bounded: bool,
        write: impl FnOnce(Self, &mut QueryBuilder<Postgres>),
    ) -> Result<bool, sqlx::Error> {
        if !is_bounded {
            return Ok(false);
        }
        let mut estimates = Estimates::new(self.scope);
        estimates.add(|sql| write(self, sql));
        Ok(estimates.read(db).await?.others.first().is_some_and(|found| *found <= SHORT_TIME))
    }

    /// Those that match the filter, apart from its search.
    pub(in crate::sessions::store) fn unsearched(scope: &'a Scope, filter: &'a SessionFilter) -> Self {
        Self { scope, filter, words: None, has_few_labels: false, has_short_time: false }
    }

    /// The same with another filter, which differs in bounds of `created_at` only.
    pub(super) fn with_filter(self, filter: &'a SessionFilter) -> Self {
        Self { filter, ..self }
    }

    /// Labels `l` that match the filter, apart from its search and what only sessions have: for an estimate.
    pub(in crate::sessions::store) fn write_labels(self, sql: &mut QueryBuilder<Postgres>) {
        sql.push("session_labels l where true");
        self.write_conditions(sql, "l");
        self.write_label_conditions(sql, Hit::Anything, Values::Shown);
    }

    /// Sessions `s` that match what only these have, and are of the same owner.
    fn write_updated(self, sql: &mut QueryBuilder<Postgres>) {
        sql.push("sessions s where true");
        self.write_owner(sql, "s");
        self.write_session_conditions(sql);
    }

    /// Whether it has conditions on name or metadata, apart from the search.
    pub(super) fn is_labelled(self) -> bool {
        self.filter.session_name.is_some() || !self.filter.metadata.is_empty()
    }

    fn is_created_bounded(self) -> bool {
        self.filter.created_from.is_some() || self.filter.created_until.is_some()
    }

    fn is_updated_bounded(self) -> bool {
        self.filter.updated_from.is_some() || self.filter.updated_until.is_some()
    }

    /// Whether it has conditions for which only labels have an index, apart from name and metadata.
    fn is_found_by_labels(self) -> bool {
        let filter = self.filter;
        self.is_created_bounded() || filter.archived == Archived::True || filter.pinned == Some(true)
    }

    /// The table that has all columns of the filter, as far as there is one: what is only counted has no order.
    pub(super) fn counted(self) -> Walked {
        let needs_sessions = self.is_updated_bounded() || self.filter.has_summary.is_some();
        if needs_sessions { Walked::Sessions } else { Walked::Labels }
    }

    /// How labels are compared in a list of this filter.
    pub(super) fn values(self, is_kept: bool) -> Values {
        match (self.has_few_labels, is_kept) {
            (true, true) => Values::Hidden,
            (true, false) => Values::Shown,
            (false, _) => Values::Walked,
        }
    }

    /// Whether one plan is the best for this order, whatever the values. Then it is cached, because planning takes as
    /// long as the page. `sorted_by` is `None` for a count.
    pub(super) fn has_one_plan(self, sorted_by: Option<SortBy>) -> bool {
        // Bounds of the sort key only limit the index range that is walked.
        let is_bounded = match sorted_by {
            Some(SortBy::CreatedAt) => self.is_updated_bounded(),
            Some(SortBy::UpdatedAt) => self.is_created_bounded(),
            Some(SortBy::SessionName) | None => self.is_created_bounded() || self.is_updated_bounded(),
        };
        if self.filter.search.is_some() {
            return false;
        }
        match sorted_by {
            Some(_) if self.has_few_labels => labels::are_found_by_one_index(self),
            Some(_) => !is_bounded,
            None => !is_bounded && !self.is_labelled(),
        }
    }

    pub(super) fn hits(self) -> &'static [Hit] {
        if self.filter.search.is_some() { &[Hit::Message, Hit::Name] } else { &[Hit::Anything] }
    }

    /// Whether only few messages have some part of the search.
    pub(super) fn has_few_hits(self) -> bool {
        self.words.is_some_and(|words| words.rare.is_some())
    }

    /// Whether the scope or a condition, other than the search and the bounds of `created_at`, is expected to exclude
    /// nearly all sessions.
    pub(super) fn is_of_some(self) -> bool {
        self.scope.user().is_some() || self.filter.is_of_some()
    }

    /// The tenant, which is the first parameter of every statement.
    pub(super) fn write_tenant(self, sql: &mut QueryBuilder<Postgres>) {
        if sql.sql().as_str().contains("$1") {
            sql.push("$1");
        } else {
            sql.push_bind(self.scope.tenant());
        }
    }

    /// `from … where …`: the sessions to list or count, by their labels `l`, their rows `s`, or both.
    pub(super) fn write_source(self, sql: &mut QueryBuilder<Postgres>, walked: Walked, hit: Hit, values: Values) {
        let is_named = matches!(hit, Hit::Name);
        if self.has_few_labels && !matches!(hit, Hit::Message) {
            // An optimization fence: otherwise the planner prefers to walk all sessions.
            sql.push(" from (select l.* from session_labels l where true");
            self.write_owner(sql, "l");
            self.write_label_conditions(sql, hit, values);
            sql.push(" offset 0) l");
            return self.write_rest_of_labels(sql, walked);
        }
        let is_other_asked = match walked {
            Walked::Labels => self.is_updated_bounded(),
            Walked::Sessions => self.is_found_by_labels(),
        };
        match walked {
            // Fences again: each side is looked up in the other.
            Walked::Labels if self.has_short_time => {
                sql.push(" from (select s.* from ");
                self.write_updated(sql);
                sql.push(" offset 0) s cross join lateral (select * from session_labels where tenant_id = ");
                self.write_tenant(sql);
                sql.push(" and session_id = s.session_id offset 0) l where true");
                self.write_conditions(sql, "l");
                self.write_label_conditions(sql, hit, values);
            }
            Walked::Sessions if self.has_short_time => {
                sql.push(" from (select l.* from session_labels l where true");
                self.write_conditions(sql, "l");
                self.write_label_conditions(sql, hit, values);
                sql.push(" offset 0) l");
                self.write_rest_of_labels(sql, walked);
            }
            _ if is_other_asked => {
                // The planner chooses which of the two to walk.
                sql.push(" from session_labels l join sessions s using (tenant_id, session_id) where true");
                self.write_owner(sql, "s");
                self.write_session_conditions(sql);
                self.write_conditions(sql, "l");
                self.write_label_conditions(sql, hit, values);
            }
            Walked::Labels => {
                sql.push(" from session_labels l");
                self.write_rest_of_labels(sql, walked);
                self.write_label_conditions(sql, hit, values);
            }
            Walked::Sessions => {
                sql.push(" from sessions s");
                if (self.is_labelled() || is_named) && values == Values::Walked {
                    sql.push(" cross join lateral (select from session_labels l where l.session_id = s.session_id");
                    self.write_owner(sql, "l");
                    self.write_label_conditions(sql, hit, Values::Shown);
                    sql.push(" offset 0) l where true");
                } else if self.is_labelled() || is_named {
                    sql.push(" join session_labels l using (tenant_id, session_id) where true");
                    self.write_owner(sql, "l");
                    self.write_label_conditions(sql, hit, values);
                } else {
                    sql.push(" where true");
                }
                self.write_conditions(sql, "s");
                self.write_session_conditions(sql);
            }
        }
        if matches!(hit, Hit::Message) {
            let session = if walked == Walked::Labels { "l" } else { "s" };
            // The offset keeps it from becoming a join, which would read the hits of all sessions.
            sql.push(" and exists (select from messages m where m.tenant_id = ");
            self.write_tenant(sql);
            sql.push(" and m.session_id = ").push(session).push(".session_id");
            self.write_words(sql, Values::Walked);
            sql.push(" offset 0)");
        }
    }

    /// What follows on labels `l` in a `from` clause: their sessions `s`, if these are needed, and the conditions.
    pub(super) fn write_rest_of_labels(self, sql: &mut QueryBuilder<Postgres>, walked: Walked) {
        if walked == Walked::Sessions || self.counted() == Walked::Sessions {
            sql.push(" cross join lateral (select * from sessions where tenant_id = ");
            self.write_tenant(sql);
            sql.push(" and session_id = l.session_id offset 0) s");
        }
        sql.push(" where true");
        self.write_conditions(sql, "l");
        self.write_session_conditions(sql);
    }

    /// Conditions on what both tables have, on the one that is called `table`.
    pub(super) fn write_conditions(self, sql: &mut QueryBuilder<Postgres>, table: &'static str) {
        let filter = self.filter;
        self.write_owner(sql, table);
        if let Some(session_type) = filter.session_type {
            // A literal, which the planner can match with a partial index.
            sql.push(format_args!(" and {table}.session_type = '{}'", session_type.as_str()));
        }
        for (comparison, bound) in [(">=", filter.created_from), ("<=", filter.created_until)] {
            if let Some(time) = bound {
                sql.push(format_args!(" and {table}.created_at {comparison} ")).push_bind(time);
            }
        }
        match filter.archived {
            Archived::True => sql.push(format_args!(" and {table}.archived_at is not null")),
            Archived::False => sql.push(format_args!(" and {table}.archived_at is null")),
            Archived::All => sql,
        };
        match filter.pinned {
            Some(true) => sql.push(format_args!(" and {table}.pinned")),
            Some(false) => sql.push(format_args!(" and not {table}.pinned")),
            None => sql,
        };
    }

    /// Conditions on tenant, user and component.
    fn write_owner(self, sql: &mut QueryBuilder<Postgres>, table: &'static str) {
        sql.push(format_args!(" and {table}.tenant_id = "));
        self.write_tenant(sql);
        for (column, value) in [("user_id", self.scope.user()), ("component_id", self.filter.component_id.as_deref())] {
            if let Some(value) = value {
                sql.push(format_args!(" and {table}.{column} = ")).push_bind(value);
            }
        }
    }

    /// Conditions on what only sessions `s` have.
    fn write_session_conditions(self, sql: &mut QueryBuilder<Postgres>) {
        let filter = self.filter;
        for (comparison, bound) in [(">=", filter.updated_from), ("<=", filter.updated_until)] {
            if let Some(time) = bound {
                sql.push(" and s.updated_at ").push(comparison).push(" ").push_bind(time);
            }
        }
        match filter.has_summary {
            Some(true) => sql.push(" and s.summary_through > 0"),
            Some(false) => sql.push(" and s.summary_through = 0"),
            None => sql,
        };
    }

    /// Conditions on what only labels `l` have: name and metadata.
    pub(super) fn write_label_conditions(self, sql: &mut QueryBuilder<Postgres>, hit: Hit, values: Values) {
        let (before, after) = if values == Values::Hidden { ("(select ", ")") } else { ("", "") };
        let (begin, end) = if values == Values::Walked { (" and coalesce(", ", false)") } else { (" and (", ")") };
        for pattern in self.filter.name_patterns() {
            sql.push(begin).push("l.name ilike ").push(before).push_bind(pattern).push(after).push(end);
        }
        for (key, values) in &self.filter.metadata {
            sql.push(begin).push("false");
            for value in values {
                sql.push(" or l.metadata @> ")
                    .push(before)
                    .push_bind(Json(json!({ key: value })))
                    .push("::jsonb")
                    .push(after);
            }
            sql.push(end);
        }
        if matches!(hit, Hit::Name) {
            sql.push(begin).push("false");
            for Alternative { wanted, unwanted } in self.filter.alternatives() {
                sql.push(" or (true");
                for (comparison, parts) in [(" and l.name ilike ", wanted), (" and l.name not ilike ", unwanted)] {
                    for part in parts {
                        sql.push(comparison).push_bind(containing(part));
                    }
                }
                sql.push(")");
            }
            sql.push(end);
        }
    }
}
