//! What a list asks of messages: the hits of a search, and an excerpt of one.

use sqlx::{Postgres, QueryBuilder};

use super::conditions::{Selection, Values};
use crate::sessions::{
    excerpt::{HIT_END, HIT_START},
    store::words::Words,
};

const HEADLINE: &str = "MaxWords=30, MinWords=15, ShortWord=0, MaxFragments=2, FragmentDelimiter=\" … \"";

impl Selection<'_> {
    /// Conditions on messages `m`: they are of the tenant, are of sessions created within the bounds, and match the
    /// search.
    pub(super) fn write_hits(self, sql: &mut QueryBuilder<Postgres>) {
        sql.push("m.tenant_id = ");
        self.write_tenant(sql);
        for (comparison, bound) in [(">=", self.filter.created_from), ("<=", self.filter.created_until)] {
            if let Some(time) = bound {
                sql.push(" and m.session_created_at ").push(comparison).push(" ").push_bind(time);
            }
        }
        self.write_words(sql, Values::Shown);
    }

    pub(super) fn write_words(self, sql: &mut QueryBuilder<Postgres>, values: Values) {
        let Some(Words { query, rare, .. }) = self.words else {
            // If its words are missing, a search must match nothing: sessions would be listed, or deleted, by mistake.
            sql.push(" and false");
            return;
        };
        let looked_up = rare.as_ref().filter(|_| values != Values::Walked);
        if let Some(rare) = looked_up {
            sql.push(" and m.words @@ ").push_bind(rare).push("::text::tsquery");
        }
        if looked_up != Some(query) {
            // Inside of `coalesce`, so that the index is not asked for this condition.
            sql.push(" and coalesce(m.words @@ ").push_bind(query).push("::text::tsquery, false)");
        }
    }

    /// An excerpt of the session's newest message that matches the search. Run by run, so that of a long session only
    /// the runs up to this message are read.
    pub(super) fn write_excerpt(self, sql: &mut QueryBuilder<Postgres>) {
        let Some(Words { config, query, .. }) = self.words else {
            sql.push("null::text");
            return;
        };
        sql.push("(select ts_headline(").push_bind(*config).push("::text::regconfig, ");
        sql.push("search_text(left(m.content, 100000)), ").push_bind(query).push("::text::tsquery, ");
        sql.push_bind(format!("StartSel={HIT_START}, StopSel={HIT_END}, {HEADLINE}")).push(
            ") from runs r cross join lateral (
                select m.content from messages m
                where m.tenant_id = $1 and m.session_id = s.session_id and m.seq = r.seq and coalesce(m.words @@ ",
        );
        sql.push_bind(query).push(
            "::text::tsquery, false) order by m.index desc limit 1
            ) m
            where r.tenant_id = $1 and r.session_id = s.session_id order by r.seq desc limit 1)",
        );
    }
}
