//! Statements on all sessions that match a filter.
//!
//! The statements are assembled from the conditions that a filter has, because each set of conditions and each order
//! has its own index: one statement with `$1 is null or …` per condition could use none. If the best plan depends on
//! the values, the statement is not cached either, so that a rare value and a common one get different plans. The
//! fragments are constants; outside input is always a parameter, or a number. `conditions` has the conditions, `labels`
//! how names and metadata are found, `messages` the search in messages, `window` how it reads the newest hits first,
//! `order` the sort order.

mod conditions;
mod labels;
mod messages;
mod order;
mod window;

use sqlx::{PgPool, Postgres, QueryBuilder};

use self::{
    conditions::{Hit, Values, Walked},
    order::Order,
    window::Window,
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
///
/// A search that finds many messages reads those of a part of the time first, where the page probably lies.
pub async fn list(
    db: &PgPool,
    selection: Selection<'_>,
    sort: Sort,
    (part, limit): (&Part, i64),
) -> Result<Vec<ListedSession>, sqlx::Error> {
    let mut window = Window::of(db, selection, sort, (part, limit)).await?;
    while let Some(part_of_time) = window {
        let filter = part_of_time.narrowed(selection.filter);
        let found = page(db, selection.with_filter(&filter), sort, (part, limit)).await?;
        if i64::try_from(found.len()).is_ok_and(|found| found == limit) {
            return Ok(found);
        }
        window = part_of_time.widened();
    }
    page(db, selection, sort, (part, limit)).await
}

async fn page(
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
/// Ids and sort keys of the page are selected first, if possible from an index alone. All else is read for the page
/// only, not for the rows that an offset skips.
pub fn write_list(sql: &mut QueryBuilder<Postgres>, selection: Selection<'_>, sort: Sort, (part, limit): (&Part, i64)) {
    let order = Order::new(sort, part);
    let offset = if let Part::From { offset } = part { *offset } else { 0 };
    sql.push("with page as (select s.*, found.key from (");
    match selection.hits() {
        [hit] => write_walk(sql, selection, &order, *hit, selection.values(is_kept(selection, sort, part))),
        hits => {
            sql.push("select session_id, key from (");
            for (place, hit) in hits.iter().enumerate() {
                sql.push(if place == 0 { "(" } else { " union (" });
                match hit {
                    Hit::Message if selection.has_few_hits() => write_hits(sql, selection, &order),
                    Hit::Message => write_walk(sql, selection, &order, *hit, Values::Shown),
                    hit => write_walk(sql, selection, &order, *hit, selection.values(false)),
                }
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
    sql.push(") found join sessions s on s.tenant_id = ");
    selection.write_tenant(sql);
    sql.push(" and s.session_id = found.session_id) select ").push(SESSION_COLUMNS).push(", ");
    selection.write_excerpt(sql);
    sql.push(" as excerpt from page s");
    order.write_by(sql, "s.key", "s.session_id");
}

/// Sessions that match, in order, with their sort key: found one after another in this order, if possible.
fn write_walk(sql: &mut QueryBuilder<Postgres>, selection: Selection<'_>, order: &Order<'_>, hit: Hit, values: Values) {
    sql.push("select ");
    order.write_columns(sql);
    selection.write_source(sql, order.walked, hit, values);
    order.write_beyond(sql);
    order.write(sql);
}

/// Sessions with a message that matches the search, in order, with their sort key, for a search with few hits.
fn write_hits(sql: &mut QueryBuilder<Postgres>, selection: Selection<'_>, order: &Order<'_>) {
    if let Some(of_messages) = order.of_messages().filter(|_| !selection.is_of_some()) {
        // The messages give the order, so that only the rows of the first sessions are read. If other conditions can
        // exclude sessions, nearly all rows would be.
        sql.push("select m.session_id, m.session_created_at as key from (");
        sql.push("select m.session_id, m.session_created_at from messages m where ");
        selection.write_hits(sql);
        of_messages.write_beyond(sql);
        sql.push(" group by m.session_created_at, m.session_id");
        of_messages.write(sql);
        sql.push(" offset 0) m cross join lateral (select from session_labels l");
        selection.write_rest_of_labels(sql, order.walked);
        sql.push(" and l.session_id = m.session_id offset 0) l");
        of_messages.write(sql);
        return;
    }
    // The offset is an optimization fence: behind it, the planner does not count on reaching the limit early.
    sql.push("select * from (select ");
    order.write_columns(sql);
    write_found(sql, selection, order.walked);
    order.write_beyond(sql);
    sql.push(" offset 0) found");
    order.write_by(sql, "key", "session_id");
}

/// `from … where …`: labels `l`, and sessions `s` where they are needed, with a message that matches the search.
fn write_found(sql: &mut QueryBuilder<Postgres>, selection: Selection<'_>, walked: Walked) {
    sql.push(" from (select distinct m.session_id from messages m where ");
    selection.write_hits(sql);
    sql.push(") m cross join lateral (select * from session_labels where tenant_id = ");
    selection.write_tenant(sql);
    sql.push(" and session_id = m.session_id offset 0) l");
    selection.write_rest_of_labels(sql, walked);
    selection.write_label_conditions(sql, Hit::Anything, Values::Shown);
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
    let mut sql = QueryBuilder::new("delete from sessions where tenant_id = ");
    selection.write_tenant(&mut sql);
    sql.push(" and session_id in (select session_id from (");
    write_ids(&mut sql, selection, Some(limit));
    sql.push(") found limit ").push(limit).push(")");
    let mut planning = Planning::of(db).await?;
    let deleted = sql.build().persistent(false).execute(planning.connection()).await?;
    planning.done().await?;
    Ok(deleted.rows_affected())
}

/// The ids of the sessions that match, without duplicates; at most `limit` from each part of the union.
fn write_ids(sql: &mut QueryBuilder<Postgres>, selection: Selection<'_>, limit: Option<i64>) {
    let walked = selection.counted();
    for (place, hit) in selection.hits().iter().enumerate() {
        sql.push(if place == 0 { "(select " } else { " union (select " });
        match hit {
            Hit::Message if selection.has_few_hits() => {
                sql.push("l.session_id");
                write_found(sql, selection, walked);
            }
            hit => {
                sql.push(if walked == Walked::Labels { "l.session_id" } else { "s.session_id" });
                selection.write_source(sql, walked, *hit, Values::Shown);
            }
        }
        if let Some(limit) = limit {
            // A literal, for the same reason as in `write_list`.
            sql.push(" limit ").push(limit);
        }
        sql.push(")");
    }
}
