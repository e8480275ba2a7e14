//! Statements on all sessions that match a filter.
//!
//! The statements are assembled from the conditions that a filter has, because each set of conditions and each order
//! has its own index: one statement with `$1 is null or …` per condition could use none. If the best plan depends on
//! the values, the statement is not cached either, so that a rare value and a common one get different plans. The
//! fragments are constants; outside input is always a parameter, or a number. `conditions` has the conditions, `labels`
//! how names and metadata are found, `order` the sort order.

mod conditions;
mod labels;
mod order;

use sqlx::{PgPool, Postgres, QueryBuilder};

use self::{
    conditions::{Hit, Values},
    order::Order,
};
use super::rows::{SESSION_COLUMNS, SessionRow};
use crate::{
    database::Planning,
    model::Session,
    sessions::filter::{Place, Sort},
};

pub use self::conditions::Selection;

/// A session in a list, and the excerpt that matches the search, with the markers of `excerpt`.
#[derive(Debug)]
pub struct ListedSession {
    pub session: Session,
    pub excerpt: Option<String>,
}

/// Which part of a list to read.
#[derive(Clone, Debug)]
pub enum Part {
    From { offset: i64 },
    After(Place),
}

/// At most `limit` of the sessions that match, in order.
pub async fn list(
    db: &PgPool,
    selection: Selection<'_>,
    sort: Sort,
    (part, limit): (&Part, i64),
) -> Result<Vec<ListedSession>, sqlx::Error> {
    #[derive(sqlx::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        session: SessionRow,
        excerpt: Option<String>,
    }
    let mut sql = QueryBuilder::new("");
    write_list(&mut sql, selection, sort, (part, limit));
    let is_kept = is_kept(selection, sort, part);
    let mut planning = Planning::of(db).await?;
    let rows: Vec<Row> = sql.build_query_as().persistent(is_kept).fetch_all(planning.connection()).await?;
    Ok(rows
        .into_iter()
        .map(|row| ListedSession { session: row.session.into_session(), excerpt: row.excerpt })
        .collect())
}

fn is_kept(selection: Selection<'_>, sort: Sort, part: &Part) -> bool {
    selection.has_one_plan(Some(sort.by)) && !matches!(part, Part::From { offset: 1.. })
}

/// Writes the statement of `list`; a separate function, so that a test can `explain` the statement.
///
/// The page is selected first. Token usage and excerpt, which cost more per row, are read for the page only, not for
/// the rows that an offset skips.
pub fn write_list(sql: &mut QueryBuilder<Postgres>, selection: Selection<'_>, sort: Sort, (part, limit): (&Part, i64)) {
    let order = Order::new(sort, part);
    let offset = if let Part::From { offset } = part { *offset } else { 0 };
    let is_walked = selection.has_many_labels() && !order.is_by_label();
    let is_found_first = is_walked || selection.filter.search.is_some();
    sql.push("with page as (select s.*, ");
    match selection.hits() {
        [Hit::Anything] if is_walked => {
            // Of most sessions that are walked past, only the sort key is read.
            sql.push("found.key from (select s.session_id, ").push(order.key).push(" as key");
            selection.write_walk(sql);
            order.write_beyond(sql);
            order.write(sql);
        }
        [Hit::Anything] => {
            let values = if is_kept(selection, sort, part) { Values::Hidden } else { Values::Shown };
            sql.push(order.key).push(" as key");
            selection.write_source(sql, order.is_by_label(), Hit::Anything, values);
            order.write_beyond(sql);
            order.write(sql);
        }
        hits => {
            sql.push("found.key from (select session_id, key from (");
            for (place, hit) in hits.iter().enumerate() {
                sql.push(if place == 0 { "(" } else { " union (" });
                write_hits(sql, selection, &order, *hit);
                sql.push(" limit ").push(offset + limit).push(")");
            }
            sql.push(") hits");
            order.write_by(sql, "key", "session_id");
        }
    }
    // A literal: with a parameter, a cached plan would be made for a tenth of all rows.
    sql.push(" limit ").push(limit);
    if offset > 0 {
        sql.push(" offset ").push(offset);
    }
    if is_found_first {
        sql.push(") found join sessions s using (session_id)");
    }
    sql.push(") select ").push(SESSION_COLUMNS).push(", ");
    selection.write_excerpt(sql);
    sql.push(" as excerpt from page s");
    order.write_by(sql, "s.key", "s.session_id");
}

/// Sessions in which `hit` matches the search, in order, with their sort key.
fn write_hits(sql: &mut QueryBuilder<Postgres>, selection: Selection<'_>, order: &Order<'_>, hit: Hit) {
    let has_few_hits = matches!(hit, Hit::Message) && selection.has_few_hits();
    let filter = selection.filter;
    match order.of_messages().filter(|_| !selection.is_of_some()) {
        // The messages give the order, so that only the rows of the first sessions are read. If other conditions can
        // exclude sessions, nearly all rows would be.
        Some(of_messages) if has_few_hits => {
            sql.push("select s.session_id, s.created_at as key from (");
            sql.push("select m.session_id, m.session_created_at from messages m where true");
            selection.write_words(sql);
            let bounds = [(" >= ", filter.created_from), (" <= ", filter.created_until)];
            for (comparison, time) in bounds.into_iter().filter_map(|(is, bound)| Some((is, bound?))) {
                sql.push(" and m.session_created_at").push(comparison).push_bind(time);
            }
            of_messages.write_beyond(sql);
            sql.push(" group by m.session_created_at, m.session_id");
            of_messages.write(sql);
            sql.push(" offset 0) m join sessions s using (session_id)");
            selection.write_conditions(sql, false, Hit::Anything);
            of_messages.write(sql);
        }
        // An optimization fence: behind it, the planner does not count on reaching the limit early.
        _ if has_few_hits => {
            sql.push("select * from (select s.session_id, ").push(order.key).push(" as key");
            selection.write_source(sql, order.is_by_label(), hit, Values::Shown);
            order.write_beyond(sql);
            sql.push(" offset 0) hits");
            order.write_by(sql, "key", "session_id");
        }
        _ => {
            sql.push("select s.session_id, ").push(order.key).push(" as key");
            selection.write_source(sql, order.is_by_label(), hit, Values::Shown);
            order.write_beyond(sql);
            order.write(sql);
        }
    }
}

/// Counts the sessions that match, up to `limit` if given.
pub async fn count(db: &PgPool, selection: Selection<'_>, limit: Option<i64>) -> Result<i64, sqlx::Error> {
    let mut sql = QueryBuilder::new("select count(*) from (");
    write_ids(&mut sql, selection, limit);
    sql.push(") found");
    let mut planning = Planning::of(db).await?;
    let is_kept = selection.has_one_plan(None);
    let found: i64 = sql.build_query_scalar().persistent(is_kept).fetch_one(planning.connection()).await?;
    // Each part of the union has its own limit.
    Ok(limit.map_or(found, |limit| found.min(limit)))
}

/// Deletes at most `limit` of the sessions that match, with everything in them.
pub async fn delete_matching(db: &PgPool, selection: Selection<'_>, limit: i64) -> Result<u64, sqlx::Error> {
    let mut sql = QueryBuilder::new("delete from sessions where session_id in (select session_id from (");
    write_ids(&mut sql, selection, Some(limit));
    sql.push(") found limit ").push_bind(limit).push(")");
    let mut planning = Planning::of(db).await?;
    let deleted = sql.build().persistent(false).execute(planning.connection()).await?;
    planning.done().await?;
    Ok(deleted.rows_affected())
}

/// The ids of the sessions that match, without duplicates; at most `limit` from each part of the union.
fn write_ids(sql: &mut QueryBuilder<Postgres>, selection: Selection<'_>, limit: Option<i64>) {
    for (place, hit) in selection.hits().iter().enumerate() {
        sql.push(if place == 0 { "(select s.session_id" } else { " union (select s.session_id" });
        selection.write_source(sql, false, *hit, Values::Shown);
        if let Some(limit) = limit {
            // A literal, for the same reason as in `write_list`.
            sql.push(" limit ").push(limit);
        }
        sql.push(")");
    }
}
