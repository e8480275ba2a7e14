-- What is remembered of a user with at least one of some words.
--
-- $1 whose, $2 and $3 since and until when, $4 and $5 filters, $6 the words.
--
-- The fence: through the user's memories, which are few, and not from the words, which those of all users have.
with of_user as (
    select r.memory_id, r.valid_from, r.words
    from memories r
    where r.user_id = $1
      and r.valid_to is null and (r.expires_at is null or r.expires_at > now())
      and ($2::timestamptz is null or r.valid_from >= $2) and ($3::timestamptz is null or r.valid_from < $3)
      and ($4::text is null or r.agent_id = $4) and lower(r.topics::text)::text[] @> $5::text[]
    offset 0
)
select memory_id as "memory_id: MemoryId", valid_from as created_at, tsvectorsend(words) as "words!"
from of_user
where words @@ $6::text::tsquery
