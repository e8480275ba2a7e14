//! Statements on all sessions that fit a filter.
//!
//! These are put together from what the filter has, because each set of conditions and each order has an index of its
//! own: a statement with `$1 is null or …` for every filter could use none. Where the best plan depends on the values it is
//! not kept either: a rare value and a common one each get their own. The parts are constants; what comes from outside is
//! always a parameter, or a number. `conditions` has what a session must be like, `labels` how its name and metadata are
//! found, `order` how a list is sorted.

mod conditions;
mod labels;
mod order;

use sqlx::{PgPool, Postgres, QueryBuilder};

use super::rows::{SESSION_COLUMNS, SessionRow};
use crate::database::Planning;
use crate::sessions::{
    filter::{Place, Sort},
    model::Session,
};
use conditions::{Hit, Values};
use order::Order;

pub use conditions::Selection;

/// A session in a list, and where it says what was searched for, with the marks of `excerpt`.
#[derive(Debug)]
pub struct Found {
    pub session: Session,
    pub excerpt: Option<String>,
}

/// Which part of a list to read.
#[derive(Clone, Debug)]
pub enum Part {
    From { offset: i64 },
    After(Place),
}

/// At most `limit` of the sessions that fit, in order.
pub async fn list(
    db: &PgPool,
    selection: Selection<'_>,
    sort: Sort,
    (part, limit): (&Part, i64),
) -> Result<Vec<Found>, sqlx::Error> {
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
    Ok(rows.into_iter().map(|row| Found { session: row.session.into_session(), excerpt: row.excerpt }).collect())
}

fn is_kept(selection: Selection<'_>, sort: Sort, part: &Part) -> bool {
    selection.has_one_plan(Some(sort.by)) && !matches!(part, Part::From { offset: 1.. })
}

/// Writes the statement of [`list`]; apart from it, so that a test can ask how it is carried out.
///
/// The page is found first. What costs more per row, the totals and the excerpt, is done for the page only, not for the
/// rows that an offset passes over.
pub fn write_list(sql: &mut QueryBuilder<Postgres>, selection: Selection<'_>, sort: Sort, (part, limit): (&Part, i64)) {
    let order = Order::new(sort, part);
    let offset = if let Part::From { offset } = part { *offset } else { 0 };
    let is_walked = selection.has_many_labels() && !order.is_by_label();
    let is_found_first = is_walked || selection.filter.search.is_some();
    sql.push("with page as (select s.*, ");
    match selection.hits() {
        [Hit::Anything] if is_walked => {
            // Most of what is walked past has no more than its place in the order read.
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
    // As a constant, without which a plan that is kept would be one for a tenth of all.
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

/// Sessions in which `hit` has what is searched for, in order, with what they are sorted by.
fn write_hits(sql: &mut QueryBuilder<Postgres>, selection: Selection<'_>, order: &Order<'_>, hit: Hit) {
    let has_few_hits = matches!(hit, Hit::Message) && selection.has_few_hits();
    let filter = selection.filter;
    match order.of_messages().filter(|_| !selection.is_of_some()) {
        // The messages tell which sessions come first: only of these the rows are needed. Where others may be left out,
        // nearly all would be.
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
        // A fence, behind which the planner does not count on soon having enough.
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

/// How many sessions fit; counting ends at the limit, if there is one.
pub async fn count(db: &PgPool, selection: Selection<'_>, limit: Option<i64>) -> Result<i64, sqlx::Error> {
    let mut sql = QueryBuilder::new("select count(*) from (");
    write_ids(&mut sql, selection, limit);
    sql.push(") found");
    let mut planning = Planning::of(db).await?;
    let is_kept = selection.has_one_plan(None);
    let found: i64 = sql.build_query_scalar().persistent(is_kept).fetch_one(planning.connection()).await?;
    // Each place where a search looks has a limit of its own.
    Ok(limit.map_or(found, |limit| found.min(limit)))
}

/// Removes at most `limit` of the sessions that fit, with all that is in them.
pub async fn delete_matching(db: &PgPool, selection: Selection<'_>, limit: i64) -> Result<u64, sqlx::Error> {
    let mut sql = QueryBuilder::new("delete from sessions where session_id in (select session_id from (");
    write_ids(&mut sql, selection, Some(limit));
    sql.push(") found limit ").push_bind(limit).push(")");
    let mut planning = Planning::of(db).await?;
    let deleted = sql.build().persistent(false).execute(planning.connection()).await?;
    planning.done().await?;
    Ok(deleted.rows_affected())
}

/// The ids of sessions that fit, each once; at most `limit` from each place.
fn write_ids(sql: &mut QueryBuilder<Postgres>, selection: Selection<'_>, limit: Option<i64>) {
    for (place, hit) in selection.hits().iter().enumerate() {
        sql.push(if place == 0 { "(select s.session_id" } else { " union (select s.session_id" });
        selection.write_source(sql, false, *hit, Values::Shown);
        if let Some(limit) = limit {
            // As a constant, for the same reason as a page's.
            sql.push(" limit ").push(limit);
        }
        sql.push(")");
    }
}
