-- How many texts a search looks through, and how many words they have in all.
--
-- $1 the tenant, $2 whose, $3 in which session; at least one of these two. $4 messages? $5 memories? $6 and $7 since
-- and until when, $8 and $9 filters of memories.
select coalesce(sum(texts), 0)::bigint as "texts!", coalesce(sum(words), 0)::bigint as "words!"
from (
    select count(*) as texts, sum(length(m.words)) as words
    from (
        select session_id from sessions
        where $4 and tenant_id = $1 and user_id = $2 and ($3::text is null or session_id = $3)
        union all
        select session_id from sessions where $4 and tenant_id = $1 and $2::text is null and session_id = $3
    ) talks join messages m on m.tenant_id = $1 and m.session_id = talks.session_id
    where m.words is not null
      and ($6::timestamptz is null or m.created_at >= $6) and ($7::timestamptz is null or m.created_at < $7)
    union all
    select count(*), sum(length(r.words))
    from memories r
    where $5 and r.tenant_id = $1 and r.user_id = $2
      and r.valid_to is null and (r.expires_at is null or r.expires_at > now())
      and ($6::timestamptz is null or r.valid_from >= $6) and ($7::timestamptz is null or r.valid_from < $7)
      and ($8::text is null or r.agent_id = $8) and ($9::text[] = '{}' or lower(r.topics::text)::text[] @> $9)
) counted
