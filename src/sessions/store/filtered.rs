//! Statements on all sessions that fit a filter.
//!
//! These are put together from what the filter has, because each set of conditions and each order has an index of its
//! own: a statement with `$1 is null or …` for every filter could use none. For the same reason most are not kept
//! prepared: they are planned with their values, so that a rare value and a common one each get their own plan. The
//! parts are constants; what comes from outside is always a parameter, or a number.

use chrono::DateTime;
use serde_json::json;
use sqlx::{PgPool, Postgres, QueryBuilder, types::Json};

use super::{
    rows::{SESSION_COLUMNS, SessionRow},
    words::Words,
};
use crate::{
    auth::Scope,
    http::paging::SortOrder,
    sessions::{
        filter::{Archived, Place, SessionFilter, Sort, SortBy, SortKey},
        model::Session,
    },
};

/// A session in a list, and where it says what was searched for: hits stand between [`HIT_START`] and [`HIT_END`].
#[derive(Debug)]
pub struct Found {
    pub session: Session,
    pub excerpt: Option<String>,
}

/// Characters that no text has a use for.
pub const HIT_START: char = '\u{2}';
pub const HIT_END: char = '\u{3}';
const HEADLINE: &str = "StartSel=\u{2}, StopSel=\u{3}, MaxWords=30, MinWords=15, ShortWord=0, MaxFragments=2, \
                        FragmentDelimiter=\" … \"";

/// Which part of a list to read.
#[derive(Clone, Debug)]
pub enum Part {
    From { offset: i64 },
    After(Place),
}

/// At most `limit` of the sessions that fit, in order. Here and below, `words` are those that the filter searches for.
pub async fn list(
    db: &PgPool,
    scope: &Scope,
    filter: &SessionFilter,
    sort: Sort,
    (part, limit): (&Part, i64),
    words: Option<&Words<'_>>,
) -> Result<Vec<Found>, sqlx::Error> {
    #[derive(sqlx::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        session: SessionRow,
        excerpt: Option<String>,
    }
    let mut sql = QueryBuilder::new("");
    write_list(&mut sql, scope, filter, sort, (part, limit), words);
    let is_kept = has_one_plan(filter, Some(sort.by)) && !matches!(part, Part::From { offset: 1.. });
    let rows: Vec<Row> = sql.build_query_as().persistent(is_kept).fetch_all(db).await?;
    Ok(rows.into_iter().map(|row| Found { session: row.session.into_session(), excerpt: row.excerpt }).collect())
}

/// Whether the best plan is the same whatever the values: then it is kept, because to make one takes as long as the page.
/// `sorted_by`: nothing for a count.
fn has_one_plan(filter: &SessionFilter, sorted_by: Option<SortBy>) -> bool {
    let is_created_bounded = filter.created_from.is_some() || filter.created_until.is_some();
    let is_updated_bounded = filter.updated_from.is_some() || filter.updated_until.is_some();
    // Bounds of what is sorted by are a part of the index that is walked.
    let is_bounded = match sorted_by {
        Some(SortBy::CreatedAt) => is_updated_bounded,
        Some(SortBy::UpdatedAt) => is_created_bounded,
        Some(SortBy::SessionName) | None => is_created_bounded || is_updated_bounded,
    };
    let is_searched = filter.search.is_some() || filter.session_name.is_some() || !filter.metadata.is_empty();
    !is_bounded && !is_searched
}

/// Writes the statement of [`list`]; apart from it, so that a test can ask how it is carried out.
///
/// The page is found first. What costs more per row, the totals and the excerpt, is done for the page only, not for the
/// rows that an offset passes over.
pub fn write_list<'a>(
    sql: &mut QueryBuilder<Postgres>,
    scope: &'a Scope,
    filter: &'a SessionFilter,
    sort: Sort,
    (part, limit): (&'a Part, i64),
    words: Option<&'a Words<'a>>,
) {
    let order = Order::new(sort, part);
    let offset = if let Part::From { offset } = part { *offset } else { 0 };
    sql.push("with page as (select s.*, ");
    match hits(filter) {
        [Hit::Anything] => {
            sql.push(order.key).push(" as key");
            write_source(sql, scope, filter, (order.is_by_label(), Hit::Anything), words);
            order.write_beyond(sql);
            order.write(sql);
        }
        hits => {
            sql.push("found.key from (select session_id, key from (");
            for (place, hit) in hits.iter().enumerate() {
                sql.push(if place == 0 { "(" } else { " union (" });
                write_hits(sql, scope, filter, (&order, *hit), words);
                sql.push(" limit ").push(offset + limit).push(")");
            }
            sql.push(") hits");
            order.write_by(sql, "key", "session_id");
        }
    }
    // As a constant, without which a plan that is kept would be one for a tenth of all.
    sql.push(" limit ").push(limit);
    if offset > 0 {
        sql.push(" offset ").push(offset);
    }
    sql.push(if filter.search.is_some() { ") found join sessions s using (session_id)" } else { "" });
    sql.push(") select ").push(SESSION_COLUMNS).push(", ");
    write_excerpt(sql, words);
    sql.push(" as excerpt from page s");
    order.write_by(sql, "s.key", "s.session_id");
}

/// How a list is sorted, and where a page of it begins.
struct Order<'a> {
    key: &'static str,
    id: &'static str,
    direction: &'static str,
    after: Option<&'a Place>,
}

impl<'a> Order<'a> {
    fn new(sort: Sort, part: &'a Part) -> Self {
        let (key, id) = match sort.by {
            SortBy::CreatedAt => ("s.created_at", "s.session_id"),
            SortBy::UpdatedAt => ("s.updated_at", "s.session_id"),
            SortBy::SessionName => ("l.name", "l.session_id"),
        };
        let direction = match sort.order {
            SortOrder::Asc => "",
            SortOrder::Desc => " desc",
        };
        let after = match part {
            Part::After(place) => Some(place),
            Part::From { .. } => None,
        };
        Self { key, id, direction, after }
    }

    fn is_by_label(&self) -> bool {
        self.key == "l.name"
    }

    /// The same order of messages, if these can tell it.
    fn of_messages(&self) -> Option<Self> {
        (self.key == "s.created_at").then_some(Self { key: "m.session_created_at", id: "m.session_id", ..*self })
    }

    /// ` and …`: what comes after the place.
    fn write_beyond(&self, sql: &mut QueryBuilder<Postgres>) {
        let Some(place) = self.after else { return };
        let beyond = if self.direction.is_empty() { ">" } else { "<" };
        sql.push(" and (").push(self.key).push(", ").push(self.id).push(") ").push(beyond).push(" (");
        match &place.key {
            SortKey::Time(micros) => sql.push_bind(DateTime::from_timestamp_micros(*micros).unwrap_or_default()),
            SortKey::Name(name) => sql.push_bind(name),
        };
        sql.push(", ").push_bind(&place.session_id).push(")");
    }

    fn write(&self, sql: &mut QueryBuilder<Postgres>) {
        self.write_by(sql, self.key, self.id);
    }

    /// The same where the two have other names.
    fn write_by(&self, sql: &mut QueryBuilder<Postgres>, key: &str, id: &str) {
        sql.push(" order by ").push(key).push(self.direction).push(", ").push(id).push(self.direction);
    }
}

/// Sessions in which `hit` has what is searched for, in order, with what they are sorted by.
fn write_hits<'a>(
    sql: &mut QueryBuilder<Postgres>,
    scope: &'a Scope,
    filter: &'a SessionFilter,
    (order, hit): (&Order<'a>, Hit),
    words: Option<&'a Words<'a>>,
) {
    let has_few_hits = matches!(hit, Hit::Message) && words.is_some_and(|words| words.rare.is_some());
    let is_of_some = scope.user().is_some() || filter.is_of_some();
    match order.of_messages().filter(|_| !is_of_some) {
        // The messages tell which sessions come first: only of these the rows are needed. Where others may be left out,
        // nearly all would be.
        Some(of_messages) if has_few_hits => {
            sql.push("select s.session_id, s.created_at as key from (");
            sql.push("select m.session_id, m.session_created_at from messages m where true");
            write_words(sql, words);
            let bounds = [(" >= ", filter.created_from), (" <= ", filter.created_until)];
            for (comparison, time) in bounds.into_iter().filter_map(|(is, bound)| Some((is, bound?))) {
                sql.push(" and m.session_created_at").push(comparison).push_bind(time);
            }
            of_messages.write_beyond(sql);
            sql.push(" group by m.session_created_at, m.session_id");
            of_messages.write(sql);
            sql.push(" offset 0) m join sessions s using (session_id)");
            write_conditions(sql, scope, filter, (false, Hit::Anything), words);
            of_messages.write(sql);
        }
        // A fence, behind which the planner does not count on soon having enough.
        _ if has_few_hits => {
            sql.push("select * from (select s.session_id, ").push(order.key).push(" as key");
            write_source(sql, scope, filter, (order.is_by_label(), hit), words);
            order.write_beyond(sql);
            sql.push(" offset 0) hits");
            order.write_by(sql, "key", "session_id");
        }
        _ => {
            sql.push("select s.session_id, ").push(order.key).push(" as key");
            write_source(sql, scope, filter, (order.is_by_label(), hit), words);
            order.write_beyond(sql);
            order.write(sql);
        }
    }
}

/// How many sessions fit; counting ends at the limit, if there is one.
pub async fn count(
    db: &PgPool,
    scope: &Scope,
    filter: &SessionFilter,
    limit: Option<i64>,
    words: Option<&Words<'_>>,
) -> Result<i64, sqlx::Error> {
    let mut sql = QueryBuilder::new("select count(*) from (");
    write_ids(&mut sql, scope, filter, limit, words);
    sql.push(") found");
    let found: i64 = sql.build_query_scalar().persistent(has_one_plan(filter, None)).fetch_one(db).await?;
    // Each place where a search looks has a limit of its own.
    Ok(limit.map_or(found, |limit| found.min(limit)))
}

/// Removes at most `limit` of the sessions that fit, with all that is in them.
pub async fn delete_matching(
    db: &PgPool,
    scope: &Scope,
    filter: &SessionFilter,
    limit: i64,
    words: Option<&Words<'_>>,
) -> Result<u64, sqlx::Error> {
    let mut sql = QueryBuilder::new("delete from sessions where session_id in (select session_id from (");
    write_ids(&mut sql, scope, filter, Some(limit), words);
    sql.push(") found limit ").push_bind(limit).push(")");
    Ok(sql.build().persistent(false).execute(db).await?.rows_affected())
}

/// Where a search looks. Each place is a statement of its own, because each has its own way: one that looked in both at
/// once would have to find all hits before it could show the first.
#[derive(Clone, Copy)]
enum Hit {
    Anything,
    Message,
    Name,
}

fn hits(filter: &SessionFilter) -> &'static [Hit] {
    let has_wanted_word = filter.search_patterns().iter().any(|(is_wanted, _)| *is_wanted);
    match filter.search {
        None => &[Hit::Anything],
        Some(_) if has_wanted_word => &[Hit::Message, Hit::Name],
        // What only leaves out would find every name.
        Some(_) => &[Hit::Message],
    }
}

/// The ids of sessions that fit, each once; at most `limit` from each place.
fn write_ids<'a>(
    sql: &mut QueryBuilder<Postgres>,
    scope: &'a Scope,
    filter: &'a SessionFilter,
    limit: Option<i64>,
    words: Option<&'a Words<'a>>,
) {
    for (place, hit) in hits(filter).iter().enumerate() {
        sql.push(if place == 0 { "(select s.session_id" } else { " union (select s.session_id" });
        write_source(sql, scope, filter, (false, *hit), words);
        if let Some(limit) = limit {
            // As a constant, for the same reason as a page's.
            sql.push(" limit ").push(limit);
        }
        sql.push(")");
    }
}

/// `from … where …`: sessions `s`, with their labels `l` where these are needed.
fn write_source<'a>(
    sql: &mut QueryBuilder<Postgres>,
    scope: &'a Scope,
    filter: &'a SessionFilter,
    is_by_label_and_hit: (bool, Hit),
    words: Option<&'a Words<'a>>,
) {
    sql.push(" from sessions s");
    write_conditions(sql, scope, filter, is_by_label_and_hit, words);
}

/// The same without the sessions themselves.
fn write_conditions<'a>(
    sql: &mut QueryBuilder<Postgres>,
    scope: &'a Scope,
    filter: &'a SessionFilter,
    (is_sorted_by_label, hit): (bool, Hit),
    words: Option<&'a Words<'a>>,
) {
    let is_labelled =
        is_sorted_by_label || matches!(hit, Hit::Name) || filter.session_name.is_some() || !filter.metadata.is_empty();
    if is_labelled {
        sql.push(" join session_labels l using (session_id)");
    }
    sql.push(" where true");
    if let Some(user) = scope.user() {
        sql.push(" and s.user_id = ").push_bind(user);
        if is_labelled {
            sql.push(" and l.user_id = ").push_bind(user);
        }
    }
    if let Some(session_type) = filter.session_type {
        // As a constant, which a partial index can be matched with.
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
    for pattern in filter.name_patterns() {
        sql.push(" and l.name ilike ").push_bind(pattern);
    }
    for (key, values) in &filter.metadata {
        sql.push(" and (false");
        for value in values {
            sql.push(" or l.metadata @> ").push_bind(Json(json!({ key: value })));
        }
        sql.push(")");
    }
    write_search(sql, filter, hit, words);
}

/// Sessions of which a message, or the name, has what is searched for.
fn write_search<'a>(
    sql: &mut QueryBuilder<Postgres>,
    filter: &'a SessionFilter,
    hit: Hit,
    words: Option<&'a Words<'a>>,
) {
    match hit {
        Hit::Anything => {}
        Hit::Message => {
            sql.push(" and exists (select from messages m where m.session_id = s.session_id");
            write_words(sql, words);
            sql.push(")");
        }
        Hit::Name => {
            for (is_wanted, pattern) in filter.search_patterns() {
                sql.push(if is_wanted { " and l.name ilike " } else { " and l.name not ilike " }).push_bind(pattern);
            }
        }
    }
}

/// Messages `m` that have what is searched for.
fn write_words<'a>(sql: &mut QueryBuilder<Postgres>, words: Option<&'a Words<'a>>) {
    let Some(Words { query, rare, .. }) = words else {
        // A search without its words must not find, or delete, what was not searched for.
        sql.push(" and false");
        return;
    };
    sql.push(" and m.words @@ ").push_bind(rare.as_ref().unwrap_or(query)).push("::text::tsquery");
    if rare.as_ref().is_some_and(|rare| rare != query) {
        // What is not a plain comparison is not asked of the index.
        sql.push(" and coalesce(m.words @@ ").push_bind(query).push("::text::tsquery, false)");
    }
}

/// The newest message of a session with what is searched for.
fn write_excerpt<'a>(sql: &mut QueryBuilder<Postgres>, words: Option<&'a Words<'a>>) {
    let Some(Words { config, query, .. }) = words else {
        sql.push("null::text");
        return;
    };
    sql.push("(select ts_headline(").push_bind(*config).push("::text::regconfig, left(m.content, 100000), ");
    sql.push_bind(query).push("::text::tsquery, ").push_bind(HEADLINE);
    sql.push(") from messages m where m.session_id = s.session_id and m.words @@ ").push_bind(query);
    sql.push("::text::tsquery order by m.seq desc, m.index desc limit 1)");
}
