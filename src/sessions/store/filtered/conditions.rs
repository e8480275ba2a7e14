//! The conditions on the sessions of a list.

use serde_json::json;
use sqlx::{PgPool, Postgres, QueryBuilder, types::Json};

use super::labels;
use crate::{
    model::Scope,
    sessions::{
        excerpt::{HIT_END, HIT_START},
        filter::{Alternative, Archived, SessionFilter, SortBy, containing},
        store::words::Words,
    },
};

const HEADLINE: &str = "MaxWords=30, MinWords=15, ShortWord=0, MaxFragments=2, FragmentDelimiter=\" … \"";

/// Where a search looks. Each place gets its own statement, because each has its own index: a statement on both at once
/// would have to find all hits before it could return the first.
#[derive(Clone, Copy)]
pub(super) enum Hit {
    Anything,
    Message,
    Name,
}

/// Whether the planner sees the values that labels are compared with.
#[derive(Clone, Copy)]
pub(super) enum Values {
    Shown,
    /// It plans for any value, so that one plan for all of them is worth caching.
    Hidden,
}

/// The sessions that match a filter.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    pub scope: &'a Scope,
    pub filter: &'a SessionFilter,
    /// The parsed search of the filter.
    pub words: Option<&'a Words<'a>>,
    has_few_labels: bool,
}

impl<'a> Selection<'a> {
    pub async fn new(
        db: &PgPool,
        scope: &'a Scope,
        filter: &'a SessionFilter,
        words: Option<&'a Words<'a>>,
    ) -> Result<Self, sqlx::Error> {
        let selection = Self { scope, filter, words, has_few_labels: false };
        Ok(Self { has_few_labels: labels::are_few(db, selection).await?, ..selection })
    }

    /// Whether many sessions have the requested labels, so that the list is walked until a page is full.
    pub(super) fn has_many_labels(self) -> bool {
        self.is_labelled() && !self.has_few_labels
    }

    /// Whether it has conditions on name or metadata, apart from the search.
    pub(super) fn is_labelled(self) -> bool {
        self.filter.session_name.is_some() || !self.filter.metadata.is_empty()
    }

    /// Whether one plan is the best for this order, whatever the values. Then it is cached, because planning takes as
    /// long as the page. `sorted_by` is `None` for a count.
    pub(super) fn has_one_plan(self, sorted_by: Option<SortBy>) -> bool {
        let filter = self.filter;
        let is_created_bounded = filter.created_from.is_some() || filter.created_until.is_some();
        let is_updated_bounded = filter.updated_from.is_some() || filter.updated_until.is_some();
        // Bounds of the sort key only limit the index range that is walked.
        let is_bounded = match sorted_by {
            Some(SortBy::CreatedAt) => is_updated_bounded,
            Some(SortBy::UpdatedAt) => is_created_bounded,
            Some(SortBy::SessionName) | None => is_created_bounded || is_updated_bounded,
        };
        if filter.search.is_some() {
            return false;
        }
        match sorted_by {
            Some(_) if self.has_few_labels => labels::are_found_by_one_index(self),
            Some(by) if self.is_labelled() => by != SortBy::SessionName && !is_bounded,
            _ => !is_bounded && !self.is_labelled(),
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

    /// `from … where …`: walks sessions `s`, and looks up the labels of each.
    pub(super) fn write_walk(self, sql: &mut QueryBuilder<Postgres>) {
        sql.push(" from sessions s cross join lateral");
        sql.push(" (select from session_labels l where l.session_id = s.session_id");
        self.write_label_conditions(sql, Hit::Anything, Values::Shown);
        sql.push(" offset 0) l where true");
        self.write_session_conditions(sql);
    }

    /// `from … where …`: sessions `s`, with their labels `l` if these are needed.
    pub(super) fn write_source(self, sql: &mut QueryBuilder<Postgres>, is_by_label: bool, hit: Hit, values: Values) {
        if !self.has_few_labels || matches!(hit, Hit::Message) {
            sql.push(" from sessions s");
            return self.write_conditions(sql, is_by_label, hit);
        }
        // Optimization fences: otherwise the planner prefers to walk all sessions.
        sql.push(" from (select l.* from session_labels l where true");
        self.write_label_conditions(sql, hit, values);
        sql.push(" offset 0) l cross join lateral (select * from sessions where session_id = l.session_id offset 0) s");
        sql.push(" where true");
        self.write_session_conditions(sql);
    }

    /// Like [`Self::write_source`], without `from sessions s`.
    pub(super) fn write_conditions(self, sql: &mut QueryBuilder<Postgres>, is_by_label: bool, hit: Hit) {
        let has_labels = is_by_label || matches!(hit, Hit::Name) || self.is_labelled();
        sql.push(if has_labels { " join session_labels l using (session_id) where true" } else { " where true" });
        self.write_session_conditions(sql);
        if has_labels {
            self.write_label_conditions(sql, hit, Values::Shown);
        }
        if matches!(hit, Hit::Message) {
            sql.push(" and exists (select from messages m where m.session_id = s.session_id");
            self.write_words(sql);
            sql.push(")");
        }
    }

    /// Conditions on labels `l`.
    pub(super) fn write_label_conditions(self, sql: &mut QueryBuilder<Postgres>, hit: Hit, values: Values) {
        let (before, after) = match values {
            Values::Shown => ("", ""),
            Values::Hidden => ("(select ", ")"),
        };
        if let Some(user) = self.scope.user() {
            sql.push(" and l.user_id = ").push_bind(user);
        }
        for pattern in self.filter.name_patterns() {
            sql.push(" and l.name ilike ").push(before).push_bind(pattern).push(after);
        }
        for (key, values) in &self.filter.metadata {
            sql.push(" and (false");
            for value in values {
                sql.push(" or l.metadata @> ").push(before).push_bind(Json(json!({ key: value }))).push(after);
            }
            sql.push(")");
        }
        if matches!(hit, Hit::Name) {
            sql.push(" and (false");
            for Alternative { wanted, unwanted } in self.filter.alternatives() {
                sql.push(" or (true");
                for (comparison, parts) in [(" and l.name ilike ", wanted), (" and l.name not ilike ", unwanted)] {
                    for part in parts {
                        sql.push(comparison).push_bind(containing(part));
                    }
                }
                sql.push(")");
            }
            sql.push(")");
        }
    }

    /// Conditions on sessions `s`.
    fn write_session_conditions(self, sql: &mut QueryBuilder<Postgres>) {
        let filter = self.filter;
        if let Some(user) = self.scope.user() {
            sql.push(" and s.user_id = ").push_bind(user);
        }
        if let Some(session_type) = filter.session_type {
            // A literal, which the planner can match with a partial index.
            sql.push(" and s.session_type = '").push(session_type.as_str()).push("'");
        }
        if let Some(component_id) = &filter.component_id {
            sql.push(" and s.component_id = ").push_bind(component_id);
        }
        let bounds = [
            (" and s.created_at >= ", filter.created_from),
            (" and s.created_at <= ", filter.created_until),
            (" and s.updated_at >= ", filter.updated_from),
            (" and s.updated_at <= ", filter.updated_until),
        ];
        for (condition, bound) in bounds {
            if let Some(time) = bound {
                sql.push(condition).push_bind(time);
            }
        }
        match filter.archived {
            Archived::True => sql.push(" and s.archived_at is not null"),
            Archived::False => sql.push(" and s.archived_at is null"),
            Archived::All => sql,
        };
        match filter.pinned {
            Some(true) => sql.push(" and s.pinned"),
            Some(false) => sql.push(" and not s.pinned"),
            None => sql,
        };
        match filter.has_summary {
            Some(true) => sql.push(" and s.summary_through > 0"),
            Some(false) => sql.push(" and s.summary_through = 0"),
            None => sql,
        };
    }

    /// Conditions on messages `m`: they match the search.
    pub(super) fn write_words(self, sql: &mut QueryBuilder<Postgres>) {
        let Some(Words { query, rare, .. }) = self.words else {
            // If its words are missing, a search must match nothing: sessions would be listed, or deleted, by mistake.
            sql.push(" and false");
            return;
        };
        sql.push(" and m.words @@ ").push_bind(rare.as_ref().unwrap_or(query)).push("::text::tsquery");
        if rare.as_ref().is_some_and(|rare| rare != query) {
            // Inside of `coalesce`, so that the index is not asked for this condition.
            sql.push(" and coalesce(m.words @@ ").push_bind(query).push("::text::tsquery, false)");
        }
    }

    /// An excerpt of the session's newest message that matches the search.
    pub(super) fn write_excerpt(self, sql: &mut QueryBuilder<Postgres>) {
        let Some(Words { config, query, .. }) = self.words else {
            sql.push("null::text");
            return;
        };
        sql.push("(select ts_headline(").push_bind(*config).push("::text::regconfig, ");
        sql.push("search_text(left(m.content, 100000)), ").push_bind(query).push("::text::tsquery, ");
        sql.push_bind(format!("StartSel={HIT_START}, StopSel={HIT_END}, {HEADLINE}"))
            .push(") from messages m where m.session_id = s.session_id and m.words @@ ")
            .push_bind(query);
        sql.push("::text::tsquery order by m.seq desc, m.index desc limit 1)");
    }
}
