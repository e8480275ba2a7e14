-- Takes a run in, in one statement: the session if it is new, the run's number and its place in the session's line, the
-- run, the user's message.
--
-- A run on a free session begins at once; on one that is taken it waits in the session's own row. Whoever takes a
-- session or gives it back changes that row, so they see each other's changes, whatever the number of processes.
--
-- The commit is asynchronous unless the run is for the background: it survives the death of the process, and nobody has
-- been told anything yet. The settling commit that follows is synchronous and flushes this one too.
--
-- `updated_at` is left to the settling: it is indexed, and a row whose indexed columns stay is cheap to change.
--
-- Nothing is accepted under the name of a process that has been buried. A burial that this statement does not see yet has
-- no lock to wait for: the run is found by the next look for runs whose process does not live.
--
-- No row comes back when the process does not live, or the session is of another type or somebody else's, or takes no
-- more runs now.
with durability as (
    select set_config('synchronous_commit', case when $14 then current_setting('synchronous_commit') else 'off' end, true)
), session as (
    insert into sessions as s (
        session_id, session_type, component_id, user_id, session_name, named_by, session_state,
        last_seq, active_seq, run_count, message_count, created_at, updated_at
    )
    select $1, $2, $3, $4, $5, case when $5::text is null then null else 'message'::named_by end, $6, 1, 1, 1, 1, $7, $7
    from durability
    where exists (select from processes where process_id = $13)
    on conflict (session_id) do update set
        last_seq = s.last_seq + 1,
        active_seq = coalesce(s.active_seq, s.last_seq + 1),
        waiting = case when s.active_seq is null then s.waiting else s.waiting || (s.last_seq + 1) end,
        run_count = s.run_count + 1,
        message_count = s.message_count + 1,
        component_id = coalesce(s.component_id, excluded.component_id),
        session_name = coalesce(s.session_name, excluded.session_name),
        named_by = coalesce(s.named_by, excluded.named_by),
        version = s.version + 1
    where s.session_type = excluded.session_type
      and (s.user_id is null or s.user_id = excluded.user_id)
      and (s.active_seq is null or cardinality(s.waiting) < $15)
    returning s.last_seq, s.active_seq, s.session_state, s.created_at
), turn as (
    select last_seq, active_seq, session_state, created_at,
           -- A new background run does not overtake those that wait for a process.
           last_seq = active_seq and $16 and not (
               $14 and exists (select from run_queue where background and process_id is null and ready)
           ) as begins
    from session
), run as (
    insert into runs (
        session_id, seq, run_id, component_id, user_id, status, process_id, input, metadata, forked_from_run_id,
        regenerated_from, created_at
    )
    select $1, last_seq, $8, $3, $4, case when begins then 'RUNNING'::run_status else 'PENDING'::run_status end,
           case when begins then $13::uuid end, $9, $10, $19, $20, $7
    from turn
), message as (
    insert into messages (session_id, seq, index, message_id, role, content, words, created_at, session_created_at)
    select $1, last_seq, 0, $11, 'user', $9, search_words($12::text::regconfig, $9), $7, created_at
    from turn
), queue as (
    insert into run_queue (
        session_id, seq, run_id, process_id, background, attempts, max_attempts, request, share, ready
    )
    select $1, last_seq, $8, case when begins or not $14 then $13::uuid end, $14, begins::integer::smallint, $17, $18,
           coalesce($4, ''), last_seq = active_seq
    from turn
    where $14 or not begins
), open as (
    insert into open_runs (run_id)
    select $8
    from turn
    where begins and not $14
)
select last_seq as "seq!", begins as "begins!",
       session_state as "session_state!: Json<Map<String, Value>>"
from turn
