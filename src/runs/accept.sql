-- Takes a run in, in one statement: the session if it is new, the run's number, the run, the user's message.
--
-- The commit is asynchronous: it survives the death of the process, and nobody has been told anything yet. The
-- settling commit that follows is synchronous and flushes this one too.
--
-- `updated_at` is left to the settling: it is indexed, and a row whose indexed columns stay is cheap to change.
--
-- No row comes back when the session is of another type or somebody else's.
with durability as (
    select set_config('synchronous_commit', 'off', true)
), session as (
    insert into sessions as s (
        session_id, session_type, component_id, user_id, session_name, named_by, session_state,
        last_seq, created_at, updated_at
    )
    select $1, $2, $3, $4, $5, case when $5::text is null then null else 'message'::named_by end, $6, 1, $7, $7
    from durability
    on conflict (session_id) do update set
        last_seq = s.last_seq + 1,
        component_id = coalesce(s.component_id, excluded.component_id),
        session_name = coalesce(s.session_name, excluded.session_name),
        named_by = coalesce(s.named_by, excluded.named_by),
        version = s.version + 1
    where s.session_type = excluded.session_type
      and (s.user_id is null or s.user_id = excluded.user_id)
    returning s.last_seq, s.session_state
), run as (
    insert into runs (session_id, seq, run_id, component_id, user_id, status, input, metadata, created_at)
    select $1, last_seq, $8, $3, $4, 'RUNNING', $9, $10, $7
    from session
), message as (
    insert into messages (session_id, seq, index, message_id, role, content, words, created_at)
    select $1, last_seq, 0, $11, 'user', $9, search_words($12::text::regconfig, $9), $7
    from session
)
select last_seq as "seq!", session_state as "session_state!: Json<Map<String, Value>>"
from session
