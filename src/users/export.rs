//! The lines of a user's export, read page by page, so that an export is never in memory as a whole.

use chrono::{DateTime, Utc};
use futures::{Stream, stream};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::store;
use crate::model::{TenantId, UserId};

/// Rows per page.
const PAGE: i64 = 100;

/// How far an export has come.
enum At {
    Sessions { after: String },
    Messages { after: (String, i64, i32) },
    Summaries { after: (String, i64) },
    Memories { after: (DateTime<Utc>, Uuid) },
    Counts,
    End,
}

/// Lines sent of each kind. The last line has these counts, so that a truncated export is recognized.
#[derive(Clone, Copy, Default, Serialize)]
struct Lines {
    sessions: usize,
    messages: usize,
    summaries: usize,
    memories: usize,
}

/// JSON lines: the user's sessions, their messages, their summaries, the memories, and the count of each.
pub fn lines(db: PgPool, tenant: TenantId, user: UserId) -> impl Stream<Item = Result<String, sqlx::Error>> + Send {
    let begin = (db, (tenant, user), At::Sessions { after: String::new() }, Lines::default());
    stream::try_unfold(begin, async |(db, whose, at, mut counts)| {
        let (tenant, user) = &whose;
        let (lines, next) = match at {
            At::Sessions { after } => {
                let page = store::sessions(&db, tenant, user, &after, PAGE).await?;
                counts.sessions += page.len();
                let next = page.last().map(|(id, _)| At::Sessions { after: id.clone() });
                (text(page), next.unwrap_or(At::Messages { after: (String::new(), 0, 0) }))
            }
            At::Messages { after: (session_id, seq, index) } => {
                let page = store::messages(&db, tenant, user, (&session_id, seq, index), PAGE).await?;
                counts.messages += page.len();
                let next = page.last().map(|(place, _)| At::Messages { after: place.clone() });
                (text(page), next.unwrap_or(At::Summaries { after: (String::new(), 0) }))
            }
            At::Summaries { after: (session_id, through_seq) } => {
                let page = store::summaries(&db, tenant, user, (&session_id, through_seq), PAGE).await?;
                counts.summaries += page.len();
                let next = page.last().map(|(place, _)| At::Summaries { after: place.clone() });
                (text(page), next.unwrap_or(At::Memories { after: (DateTime::UNIX_EPOCH, Uuid::nil()) }))
            }
            At::Memories { after } => {
                let page = store::memories(&db, tenant, user, after, PAGE).await?;
                counts.memories += page.len();
                let next = page.last().map(|(place, _)| At::Memories { after: *place });
                (text(page), next.unwrap_or(At::Counts))
            }
            At::Counts => {
                let mut line = json!(counts);
                line["type"] = json!("end");
                (text(vec![((), line)]), At::End)
            }
            At::End => return Ok(None),
        };
        Ok(Some((lines, (db, whose, next, counts))))
    })
}

fn text<P>(page: Vec<(P, Value)>) -> String {
    let mut text = String::new();
    for (_, line) in page {
        text.push_str(&line.to_string());
        text.push('\n');
    }
    text
}
