//! How a list looks for words.

use sqlx::PgPool;

use super::estimates::Estimates;
use crate::sessions::filter::{SessionFilter, to_websearch};

/// The hits of a word are few if their square is less than so many times the sessions: to find and sort them all is done
/// sooner then than to walk through a list until a page is full. A page of 21 takes 21 × sessions ÷ hits sessions to walk
/// over, and one of these, with its messages, as long as four hits.
const FEW_HITS: f64 = 90.0;

/// How the words of a search are looked for.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    /// The text search configuration that tells them apart.
    pub config: &'a str,
    /// What is searched for, as a `tsquery`: a constant, which is not read anew for every message.
    pub query: String,
    /// A part of the search, as a `tsquery`, that so few messages have that these are found first: the rest is looked for in
    /// them, and then come their sessions.
    pub rare: Option<String>,
}

impl<'a> Words<'a> {
    /// Of all that a message has to have, what the planner takes to be the rarest, if it is rare: to look one session after
    /// the other through for that would take longer, and so would it to ask the index for what is common. The planner has
    /// to be told, because it takes rare words to be more frequent than they are, and all words to come independently.
    ///
    /// `None`: no words are searched for.
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

/// The parts of a `tsquery` of which a message has to have each; the whole where it leaves a choice.
fn parts(query: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut is_quoted) = (Vec::new(), 0, false);
    for (at, byte) in query.bytes().enumerate() {
        match byte {
            // One that is a part of a word is doubled.
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
