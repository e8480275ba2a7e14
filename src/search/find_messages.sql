-- What was said with at least one of some words.
--
-- $1 whose, $2 in which session; at least one of them. $3 and $4 since and until when, $5 the words.
--
-- There are two ways: through all that the user has said, or from the words, whoever said them. Which is shorter depends
-- on both, so this is planned anew for each question.
with talks as (
    select session_id from sessions where user_id = $1 and ($2::text is null or session_id = $2)
    union all
    select session_id from sessions where $1::text is null and session_id = $2
)
select m.session_id, m.seq, m.index, m.created_at, tsvectorsend(m.words) as words
from talks join messages m using (session_id)
where m.words @@ $5::text::tsquery
  and ($3::timestamptz is null or m.created_at >= $3) and ($4::timestamptz is null or m.created_at < $4)
