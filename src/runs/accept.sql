-- Accepts a run, in one statement: the session if it is new, the run's number and its place in the session's queue, and
-- the run with the user's message.
--
-- A run on a free session begins at once; on a busy one it waits in the session's own row. Whoever takes a session or
-- gives it back changes that row, so they see each other's changes, whatever the number of processes.
--
-- The commit is asynchronous unless the run is for the background: it survives the death of the process, and nobody has
-- been told anything yet. The settling commit that follows is synchronous and flushes this one too.
--
-- `updated_at` is left to the settling: it is indexed, and a row whose indexed columns stay is cheap to change.
--
-- Neither are name and component of a session that has none yet: see `name_session`. A statement that might change them
-- costs every run the check of the trigger that copies them.
--
-- Nothing is accepted under the name of a process that was declared dead. If this statement does not see that yet, it has
-- no lock to wait for: the run is found by the next search for runs of dead processes.
--
-- No row comes back when the process is not registered, or the session is of another type or somebody else's, or takes
-- no more runs now.
with durability as (
    select set_config('synchronous_commit', case when $15 then current_setting('synchronous_commit') else 'off' end, true)
), session as (
    insert into sessions as s (
        tenant_id, session_id, session_type, component_id, user_id, session_name, named_by, session_state,
        last_seq, active_seq, run_count, message_count, created_at, updated_at
    )
    select $1, $2, $3, $4, $5, $6, case when $6::text is null then null else 'message'::named_by end, $7,
           1, 1, 1, 1, $8, $8
    from durability
    where exists (select from processes where process_id = $14)
    on conflict (tenant_id, session_id) do update set
        last_seq = s.last_seq + 1,
        active_seq = coalesce(s.active_seq, s.last_seq + 1),
        waiting = case when s.active_seq is null then s.waiting else s.waiting || (s.last_seq + 1) end,
        run_count = s.run_count + 1,
        message_count = s.message_count + 1,
        version = s.version + 1
    where s.session_type = excluded.session_type
      and (s.user_id is null or s.user_id = excluded.user_id)
      and (s.active_seq is null or cardinality(s.waiting) < $16)
    returning s.last_seq, s.active_seq, s.session_state, s.created_at, s.user_id is null as is_shared,
              s.session_name is null and $6::text is not null or s.component_id is null as is_unnamed
), turn as (
    select last_seq, active_seq, session_state, created_at, is_shared, is_unnamed,
           -- A new background run does not overtake those that wait for a process.
           last_seq = active_seq and $17 and not (
               $15 and exists (
                   select from open_runs where tenant_id = $1 and background and process_id is null and ready
               )
           ) as begins
    from session
), run as (
    insert into runs (
        tenant_id, session_id, seq, run_id, component_kind, component_id, user_id, is_shared, input, message_id, words,
        metadata, forked_from_run_id, regenerated_from, created_at, session_created_at
    )
    select $1, $2, last_seq, $9, $3, $4, $5, is_shared, $10, $12, search_words($13::text::regconfig, $10), $11, $20, $21,
           $8, created_at
    from turn
), open as (
    insert into open_runs (
        tenant_id, session_id, seq, run_id, status, process_id, waiter_id, background, attempts, max_attempts, request,
        share, ready
    )
    select $1, $2, last_seq, $9, case when begins then 'RUNNING'::run_status else 'PENDING'::run_status end,
           case when begins then $14::uuid end, case when not begins and not $15 then $14 end, $15,
           begins::integer::smallint, $18, $19, coalesce($5, ''), last_seq = active_seq
    from turn
)
select last_seq as "seq!", begins as "begins!",
       session_state as "session_state!: Json<Map<String, Value>>", is_unnamed as "is_unnamed!"
from turn
