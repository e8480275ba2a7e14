-- Exact BM25 over what was said and what is remembered, in one statement.
--
-- $1 whose, $2 in which session; at least one of them. $3 the question, $4 the text search configuration, $5 messages?
-- $6 memories? $7 and $8 since and until when, $9 and $10 filters of memories, $11 and $12 the size of the collection
-- where it is known, $13 k1, $14 b, $15 how many.
--
-- Document frequencies are counted among the rows that match, which are all the rows of the scope with one of the
-- question's words. The length of a text is the number of its different words.
with asked as (
    select tsvector_to_array(search_words($4::text::regconfig, $3)) as words
), any_of_them as (
    -- A word may hold quotes and backslashes; inside of quotes, doubled, they are ordinary characters.
    select string_agg('''' || replace(replace(word, '\', '\\'), '''', '''''') || '''', '|')::tsquery as query
    from asked, unnest(words) word
), said as (
    select m.session_id, m.seq, m.index, m.words, m.created_at
    from sessions s join messages m using (session_id)
    where $5 and ($1::text is null or s.user_id = $1) and ($2::text is null or s.session_id = $2)
      and m.words is not null
      and ($7::timestamptz is null or m.created_at >= $7) and ($8::timestamptz is null or m.created_at < $8)
), remembered as (
    select r.memory_id, r.words, r.valid_from as created_at
    from memories r
    where $6 and r.user_id = $1
      and r.valid_to is null and (r.expires_at is null or r.expires_at > now())
      and ($7::timestamptz is null or r.valid_from >= $7) and ($8::timestamptz is null or r.valid_from < $8)
      and ($9::text is null or r.agent_id = $9) and lower(r.topics::text)::text[] @> $10::text[]
), size as (
    select coalesce($11::bigint, (
        select count(*) from (select from said union all select from remembered) texts
    )) as texts, coalesce($12::bigint, (
        select coalesce(sum(length(words)), 0) from (
            select words from said union all select words from remembered
        ) texts
    )) as words
), found as materialized (
    select row_number() over () as n, hits.*, length(words) as length
    from (
        select session_id, seq, index, null::uuid as memory_id, said.words, created_at
        from said, any_of_them where said.words @@ query
        union all
        select null, null, null, memory_id, remembered.words, created_at
        from remembered, any_of_them where remembered.words @@ query
    ) hits
), term as (
    select found.n, found.length, t.lexeme, coalesce(cardinality(t.positions), 1) as count
    from found, asked, unnest(found.words) t (lexeme, positions, weights)
    where t.lexeme = any(asked.words)
), rarity as (
    select lexeme, ln(1 + (greatest(size.texts, count(*)) - count(*) + 0.5) / (count(*) + 0.5))::float8 as idf
    from term, size
    group by lexeme, size.texts
), scored as (
    select term.n, sum(
        idf * term.count * ($13::float8 + 1)
        / (term.count + $13 * (1 - $14::float8 + $14 * term.length * size.texts / greatest(size.words, 1)))
    ) as score
    from term join rarity using (lexeme), size
    group by term.n
), best as (
    select n, score from scored order by score desc, n limit $15
)
select found.session_id as "session_id?", found.seq as "seq?", found.index as "index?",
       found.memory_id as "memory_id?: MemoryId", found.created_at as "created_at!", best.score as "score!",
       size.texts as "texts!", size.words::bigint as "words!"
from best join found using (n), size
order by best.score desc, found.created_at desc, found.n
