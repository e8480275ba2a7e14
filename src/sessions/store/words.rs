//! Full-text search in lists.

use sqlx::PgPool;

use super::estimates::Estimates;
use crate::sessions::filter::{SessionFilter, to_websearch};

/// A word has few hits if hits² < `FEW_HITS` × sessions. Then finding and sorting all hits is faster than walking the
/// list until a page is full: a page of 21 walks 21 × sessions ÷ hits sessions, and each of these, with its messages,
/// takes as long as four hits.
const FEW_HITS: f64 = 90.0;

/// A parsed search, and how to find its words.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    /// The text search configuration, which splits texts into words.
    pub config: &'a str,
    /// The search as a `tsquery`: a constant, which is not parsed again for every message.
    pub query: String,
    /// A part of the search, as a `tsquery`, that is rare enough to be looked up first: the rest is checked on the
    /// messages found, and then come their sessions.
    pub rare: Option<String>,
}

impl<'a> Words<'a> {
    /// Of the parts that a message must have, picks the one that the planner estimates to be the rarest, if it is rare
    /// enough: to look it up first is faster than to walk the list, or to ask the index for common parts as well. The
    /// planner does not choose this by itself, because it overestimates rare words, and assumes that words occur
    /// independently.
    ///
    /// `None` if the filter has no search.
    pub async fn of(db: &PgPool, filter: &SessionFilter, config: &'a str) -> Result<Option<Self>, sqlx::Error> {
        if filter.search.is_none() {
            return Ok(None);
        }
        let search = to_websearch(&filter.alternatives());
        let query = sqlx::query_scalar!(
            r#"
            -- What asks for no word, but only for what is not there, would find nearly all.
            select case when querytree(query) = 'T' then '' else query::text end as "query!"
            from websearch_to_tsquery($1::text::regconfig, search_text($2)) query
            "#,
            config,
            search,
        );
        let query = query.fetch_one(db).await?;
        let parts = parts(&query);
        let mut estimates = Estimates::beside_all_of("sessions");
        for part in &parts {
            estimates.add(|sql| {
                sql.push("messages m where m.words @@ ").push_bind(*part).push("::text::tsquery");
            });
        }
        let (sessions, hits) = estimates.read(db).await?;
        let hits = parts.iter().zip(hits);
        let rarest = hits.min_by(|(_, one), (_, other)| one.total_cmp(other));
        let rare = rarest.filter(|(_, hits)| hits.powi(2) < FEW_HITS * sessions).map(|(part, _)| (*part).to_owned());
        Ok(Some(Self { config, query, rare }))
    }
}

/// The parts of a `tsquery` that a message must all match; the whole query if it has alternatives or parentheses.
fn parts(query: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut is_quoted) = (Vec::new(), 0, false);
    for (at, byte) in query.bytes().enumerate() {
        match byte {
            // A quote inside a word is doubled.
            b'\'' => is_quoted = !is_quoted,
            b'|' | b'(' if !is_quoted => return vec![query],
            b'&' if !is_quoted => {
                parts.push(query[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(query[begin..].trim());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_taken_apart_where_all_of_it_has_to_be_there() {
        assert_eq!(parts("'tea'"), ["'tea'"]);
        assert_eq!(parts("'tea' & !'milk' & 'earl' <-> 'grey'"), ["'tea'", "!'milk'", "'earl' <-> 'grey'"]);
        assert_eq!(parts("'a''&''b' & 'c|('"), ["'a''&''b'", "'c|('"]);
        for whole in ["'tea' & 'milk' | 'water'", "'tea' & !( 'earl' <-> 'grey' )", ""] {
            assert_eq!(parts(whole), [whole]);
        }
    }
}
