-- How many texts a search looks through, and how many words they have in all.
--
-- $1 whose, $2 in which session; at least one of them. $3 messages? $4 memories? $5 and $6 since and until when, $7 and
-- $8 filters of memories.
select coalesce(sum(texts), 0)::bigint as "texts!", coalesce(sum(words), 0)::bigint as "words!"
from (
    select count(*) as texts, sum(length(m.words)) as words
    from (
        select session_id from sessions where $3 and user_id = $1 and ($2::text is null or session_id = $2)
        union all
        select session_id from sessions where $3 and $1::text is null and session_id = $2
    ) talks join messages m using (session_id)
    where m.words is not null
      and ($5::timestamptz is null or m.created_at >= $5) and ($6::timestamptz is null or m.created_at < $6)
    union all
    select count(*), sum(length(r.words))
    from memories r
    where $4 and r.user_id = $1
      and r.valid_to is null and (r.expires_at is null or r.expires_at > now())
      and ($5::timestamptz is null or r.valid_from >= $5) and ($6::timestamptz is null or r.valid_from < $6)
      and ($7::text is null or r.agent_id = $7) and ($8::text[] = '{}' or lower(r.topics::text)::text[] @> $8)
) counted
