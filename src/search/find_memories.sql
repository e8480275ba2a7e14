-- What is remembered of a user with at least one of some words.
--
-- $1 the tenant, $2 whose, $3 and $4 since and until when, $5 and $6 filters. $7 the words as a query; absent, they are
-- those of the text $9 by the text search configuration $8: then nobody has to ask for them first, nor how many texts
-- there are and how many words these have. $10: short texts come along, because to ask for those of the best afterwards
-- takes longer.
--
-- Materialized: through the user's memories, which are few, and not from the words, which those of all users have.
with of_user as materialized (
    select r.memory_id, r.valid_from, r.words, r.memory, r.tokens
    from memories r
    where r.tenant_id = $1 and r.user_id = $2
      and r.valid_to is null and (r.expires_at is null or r.expires_at > now())
      and ($3::timestamptz is null or r.valid_from >= $3) and ($4::timestamptz is null or r.valid_from < $4)
      and ($5::text is null or r.agent_id = $5) and ($6::text[] = '{}' or lower(r.topics::text)::text[] @> $6)
), wanted as (
    select coalesce($7::text, string_agg('''' || replace(replace(word, '\', '\\'), '''', '''''') || '''', '|'))::tsquery as words
    from unnest(tsvector_to_array(search_words($8::text::regconfig, $9))) word
)
select memory_id as "memory_id: MemoryId", valid_from as "created_at!", tsvectorsend(words) as "words!",
       case when $10 and octet_length(memory) <= 500 then memory end as memory, tokens,
       case when $7 is null then (select count(*) from of_user) end as texts,
       case when $7 is null then (select sum(length(all_of_them.words)) from of_user all_of_them) end as text_words
from of_user
where words @@ (select wanted.words from wanted)
