-- The words that more than a share $5 of a collection's texts have, with how many have them, by a sample of $6 of its
-- $7 texts, picked by the digest of their ids.
with sample as materialized (
    (
        select m.words
        from (
            select session_id from sessions where $3 and user_id = $1 and ($2::text is null or session_id = $2)
            union all
            select session_id from sessions where $3 and $1::text is null and session_id = $2
        ) talks join messages m using (session_id)
        where m.words is not null
        order by md5(m.message_id::text)
        limit $6
    )
    union all
    (
        select r.words
        from memories r
        where $4 and r.user_id = $1 and r.valid_to is null
        order by md5(r.memory_id::text)
        limit $6
    )
)
select word as "word!", (count(*) * $7::bigint / (select count(*) from sample))::bigint as "texts!"
from sample, unnest(tsvector_to_array(words)) word
group by word
having count(*) > $5::float8 * (select count(*) from sample)
order by 2 desc
