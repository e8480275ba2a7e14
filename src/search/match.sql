-- Exact BM25 over what was said and what is remembered, in one statement.
--
-- $1 whose, $2 in which session; at least one of them. $3 the question, $4 the text search configuration, $5 messages?
-- $6 memories? $7 and $8 since and until when, $9 and $10 filters of memories, $11 how many texts there are, $12 how
-- many words in all, $13 k1, $14 b, $15 how many, $16 common words that find nothing by themselves, $17 how many texts
-- have each of these.
--
-- The frequencies of the other words are counted among the rows that match, which are all the rows of the scope with
-- one of them. The length of a text is the number of its different words.
with asked as materialized (
    -- A word may hold quotes and backslashes; inside of quotes, doubled, they are ordinary characters.
    select n::integer, word, ('''' || replace(replace(word, '\', '\\'), '''', '''''') || '''')::tsquery as query,
           ($17::bigint[])[array_position($16::text[], word)] as common
    from unnest(tsvector_to_array(search_words($4::text::regconfig, $3))) with ordinality as words (word, n)
), any_of_them as materialized (
    select string_agg(query::text, '|') filter (where common is null)::tsquery as query,
           array_agg(word order by n) as words
    from asked
), talks as materialized (
    select session_id from sessions where $5 and user_id = $1 and ($2::text is null or session_id = $2)
    union all
    select session_id from sessions where $5 and $1::text is null and session_id = $2
), found as materialized (
    select hits.*, array(select n from asked where hits.words @@ asked.query) as has,
           1 - $14::float8 + $14 * length(hits.words) * $11::bigint / greatest($12::bigint, 1) as length
    from (
        select m.session_id, m.seq, m.index, null::uuid as memory_id, m.words, m.created_at
        from any_of_them, talks join messages m using (session_id)
        where m.words @@ any_of_them.query
          and ($7::timestamptz is null or m.created_at >= $7) and ($8::timestamptz is null or m.created_at < $8)
        union all
        select null, null, null, r.memory_id, r.words, r.valid_from
        from any_of_them, memories r
        where r.words @@ any_of_them.query
          and $6 and r.user_id = $1
          and r.valid_to is null and (r.expires_at is null or r.expires_at > now())
          and ($7::timestamptz is null or r.valid_from >= $7) and ($8::timestamptz is null or r.valid_from < $8)
          and ($9::text is null or r.agent_id = $9) and lower(r.topics::text)::text[] @> $10::text[]
    ) hits
), rarity as materialized (
    select array_agg(ln(1 + (greatest($11::float8, texts) - texts + 0.5) / (texts + 0.5)) order by n) as of_word
    from (
        select asked.n, coalesce(asked.common, count(met.n))::float8 as texts
        from asked left join (select unnest(has) as n from found) as met using (n)
        group by asked.n, asked.common
    ) counted
), weighed as materialized (
    -- To count how often each word occurs is the dear part. A row scores at least as if each of its words occurred once,
    -- and less than as if they occurred without end: where that is less than what enough others have at least, there is
    -- nothing to count.
    select found.*, weight * ($13::float8 + 1) as most, weight * ($13 + 1) / (1 + $13 * length) as least
    from found, rarity, lateral (select sum(rarity.of_word[n]) as weight from unnest(has) n) words
), bar as materialized (
    select min(least) as least from (select least from weighed order by least desc limit $15) enough
)
select weighed.session_id as "session_id?", weighed.seq as "seq?", weighed.index as "index?",
       weighed.memory_id as "memory_id?: MemoryId", weighed.created_at as "created_at!", exact.score as "score!"
from bar, rarity, any_of_them, weighed, lateral (
    select sum(
        rarity.of_word[array_position(any_of_them.words, t.lexeme)] * count * ($13 + 1) / (count + $13 * weighed.length)
    ) as score
    from unnest(weighed.words) t (lexeme, positions, weights), lateral (
        select coalesce(cardinality(t.positions), 1)::float8 as count
    ) occurrences
    where t.lexeme = any(any_of_them.words)
) exact
where weighed.most >= bar.least
order by exact.score desc, weighed.created_at desc, weighed.session_id, weighed.seq, weighed.index, weighed.memory_id
limit $15
