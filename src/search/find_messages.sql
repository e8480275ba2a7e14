-- What was said with at least one of some words.
--
-- $1 the tenant, $2 whose, $3 in which session; at least one of these two. $4 and $5 since and until when, $6 the
-- words.
--
-- There are two ways: through all that the user has said, or from the words, whoever said them. Which is shorter
-- depends on both, so this is planned anew for each question.
with talks as (
    select session_id from sessions where tenant_id = $1 and user_id = $2 and ($3::text is null or session_id = $3)
    union all
    select session_id from sessions where tenant_id = $1 and $2::text is null and session_id = $3
)
select m.session_id, m.seq, m.index, m.created_at, tsvectorsend(m.words) as words
from talks join messages m on m.tenant_id = $1 and m.session_id = talks.session_id
where m.words @@ $6::text::tsquery
  and ($4::timestamptz is null or m.created_at >= $4) and ($5::timestamptz is null or m.created_at < $5)
