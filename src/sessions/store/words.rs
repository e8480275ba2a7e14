//! Full-text search in lists.

use sqlx::PgPool;

use super::estimates::{Estimated, Estimates};
use super::filtered::Selection;
use crate::{
    model::Scope,
    sessions::filter::{SessionFilter, to_websearch},
};

/// While a list is walked, a session with its messages takes as long as finding this many hits.
const HITS_PER_SESSION: f64 = 4.0;
/// Sessions that fill a page, with the one that tells whether there is a next page.
const PAGE: f64 = 21.0;

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
    /// How many sessions are expected to match.
    pub expected: f64,
}

impl<'a> Words<'a> {
    /// Of the parts that a message must have, picks the one that the planner estimates to be the rarest, if it is rare
    /// enough: to look it up first is faster than to walk the list until a page is full, or to ask the index for common
    /// parts as well. The planner does not choose this by itself, because it overestimates rare words, and assumes that
    /// words occur independently.
    ///
    /// `None` if the filter has no search.
    pub async fn of(
        db: &PgPool,
        scope: &Scope,
        filter: &SessionFilter,
        config: &'a str,
    ) -> Result<Option<Self>, sqlx::Error> {
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
        let mut estimates = Estimates::new(scope);
        estimates.add(|sql| Selection::unsearched(scope, filter).write_labels(sql));
        for part in &parts {
            // The index finds the hits of all tenants.
            estimates.add(|sql| {
                sql.push("messages m where m.words @@ ").push_bind(*part).push("::text::tsquery");
            });
        }
        let Estimated { all, others, .. } = estimates.read(db).await?;
        let (walked, hits) = others.split_first().map_or((0.0, [].as_slice()), |(walked, hits)| (*walked, hits));
        let rarest = parts.iter().zip(hits).min_by(|(_, one), (_, other)| one.total_cmp(other));
        let expected = rarest.map_or(0.0, |(_, hits)| hits * walked / all);
        let most = HITS_PER_SESSION * walked * (PAGE / expected.max(1.0)).min(1.0);
        let rare = rarest.filter(|(_, hits)| **hits < most).map(|(part, _)| (*part).to_owned());
        Ok(Some(Self { config, query, rare, expected }))
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
