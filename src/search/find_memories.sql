-- What is remembered of a user with at least one of some words.
--
-- $1 whose, $2 and $3 since and until when, $4 and $5 filters. $6 the words as a query; absent, they are those of the text $8
-- by the text search configuration $7: then nobody has to ask for them first, nor how many texts there are and how many
-- words these have. $9: short texts come along, because to ask for those of the best afterwards takes longer.
--
-- Materialized: through the user's memories, which are few, and not from the words, which those of all users have.
with of_user as materialized (
    select r.memory_id, r.valid_from, r.words, r.memory, r.tokens
    from memories r
    where r.user_id = $1
      and r.valid_to is null and (r.expires_at is null or r.expires_at > now())
      and ($2::timestamptz is null or r.valid_from >= $2) and ($3::timestamptz is null or r.valid_from < $3)
      and ($4::text is null or r.agent_id = $4) and ($5::text[] = '{}' or lower(r.topics::text)::text[] @> $5)
), wanted as (
    select coalesce($6::text, string_agg('''' || replace(replace(word, '\', '\\'), '''', '''''') || '''', '|'))::tsquery as words
    from unnest(tsvector_to_array(search_words($7::text::regconfig, $8))) word
)
select memory_id as "memory_id: MemoryId", valid_from as "created_at!", tsvectorsend(words) as "words!",
       case when $9 and octet_length(memory) <= 500 then memory end as memory, tokens,
       case when $6 is null then (select count(*) from of_user) end as texts,
       case when $6 is null then (select sum(length(all_of_them.words)) from of_user all_of_them) end as text_words
from of_user
where words @@ (select wanted.words from wanted)
