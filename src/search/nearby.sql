-- Messages with their neighbours: the two before each and the two after it.
--
-- $1 the tenant, $2 to $4 the places of the messages, $5 whose; absent, anybody's.
--
-- It looks at the two runs before and the two after, by their numbers: never at a whole session, however long that is.
select asked.n as "of!", near.distance::integer as "distance!", s.session_id, near.seq as "seq!",
       near.index as "index!", near.role as "role!: Role", coalesce(left(near.content, 80), '') as "opening!",
       near.created_at as "created_at!",
       coalesce(length(near.content) <= 300 and right(rtrim(near.content, E' \n'), 1) in ('?', '？', '؟'), false)
           as "asks!"
from unnest($2::text[], $3::bigint[], $4::integer[]) with ordinality as asked (session_id, seq, index, n)
join sessions s on s.tenant_id = $1 and s.session_id = asked.session_id and ($5::text is null or s.user_id = $5)
cross join lateral (
    select seq, index, role, content, created_at,
           row_number() over (order by seq, index)
               - count(*) filter (where (seq, index) < (asked.seq, asked.index)) over () - 1 as distance
    from (
        select seq, 0 as index, 'user'::message_role as role, input as content, created_at
        from runs r
        where r.tenant_id = $1 and r.session_id = s.session_id and r.seq between asked.seq - 2 and asked.seq + 2
          and r.message_id is not null and r.words is not null
        union all
        (
            select seq, index, role, content, created_at
            from run_steps p
            where p.tenant_id = $1 and p.session_id = s.session_id and p.seq >= asked.seq - 2
              and (p.seq, p.index) < (asked.seq, asked.index) and p.words is not null
            order by seq desc, index desc
            limit 2
        )
        union all
        (
            select seq, index, role, content, created_at
            from run_steps p
            where p.tenant_id = $1 and p.session_id = s.session_id and p.seq <= asked.seq + 2
              and (p.seq, p.index) >= (asked.seq, asked.index) and p.words is not null
            order by seq, index
            limit 3
        )
        union all
        select seq, answer_index, 'assistant', content, answered_at
        from outcomes o
        where o.tenant_id = $1 and o.session_id = s.session_id and o.seq between asked.seq - 2 and asked.seq + 2
          and o.answer_index is not null and o.words is not null
    ) around
) near
where near.distance between -2 and 2
