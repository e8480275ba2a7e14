-- The words that more than a share $6 of a collection's texts have, with how many have them, by a sample of $7 of its
-- $8 texts, picked by the digest of their ids.
with sample as materialized (
    (
        select m.words
        from (
            select session_id from sessions
            where $4 and tenant_id = $1 and user_id = $2 and ($3::text is null or session_id = $3)
            union all
            select session_id from sessions where $4 and tenant_id = $1 and $2::text is null and session_id = $3
        ) talks join messages m on m.tenant_id = $1 and m.session_id = talks.session_id
        where m.words is not null
        order by md5(m.message_id::text)
        limit $7
    )
    union all
    (
        select r.words
        from memories r
        where $5 and r.tenant_id = $1 and r.user_id = $2 and r.valid_to is null
        order by md5(r.memory_id::text)
        limit $7
    )
)
select word as "word!", (count(*) * $8::bigint / (select count(*) from sample))::bigint as "texts!"
from sample, unnest(tsvector_to_array(words)) word
group by word
having count(*) > $6::float8 * (select count(*) from sample)
order by 2 desc
