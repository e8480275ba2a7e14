-- Ends a run, in one statement: its outcome, its messages, the last of its events, the session's state and what it cost,
-- and whether memories are to be drawn from it; and gives the session to the run whose turn it is next.
--
-- The session's row comes first, as in every other change of a session: a delete that came before wins, and one that
-- comes later waits. No row comes back when the run has ended already, is gone, or was taken from the process that
-- settles it.
with session as (
    update sessions set
        session_state = coalesce($10, session_state),
        message_count = message_count + jsonb_array_length($14),
        unfolded_tokens = unfolded_tokens + coalesce($21, 0),
        unfolded_runs = unfolded_runs + ($21 is not null)::integer,
        -- One fold at a time is queued; one that was queued long ago and has not been done is queued again.
        fold_queued_by = case
            when (unfolded_tokens + coalesce($21, 0) > $22 or unfolded_runs + ($21 is not null)::integer > $24)
                and (fold_queued_by is null or fold_queued_by <= $2 - 10) then $2
            else fold_queued_by
        end,
        active_seq = case when active_seq = $2 then waiting[1] else active_seq end,
        waiting = case when active_seq = $2 then waiting[2:] else array_remove(waiting, $2) end,
        updated_at = greatest(updated_at, $13),
        version = version + 1
    where session_id = $1
      and exists (
          select from runs
          where runs.session_id = $1 and seq = $2 and run_id = $3 and status in ('PENDING', 'RUNNING', 'PAUSED')
            and process_id is not distinct from $17
      )
    returning session_id, session_state, active_seq, fold_queued_by, created_at
), run as (
    update runs set
        status = $4,
        content = $5,
        error = $6,
        model = $7,
        model_provider = $8,
        metrics = $9,
        session_state = nullif(session.session_state, '{}'),
        context = $11,
        tokens = $21,
        tools = $12,
        finished_at = $13
    from session
    where runs.session_id = $1 and runs.seq = $2
      -- Once more: whoever held the session while this statement waited may have ended the run, and only the row itself
      -- knows.
      and runs.status in ('PENDING', 'RUNNING', 'PAUSED') and runs.process_id is not distinct from $17
    returning runs.session_id, runs.seq, runs.component_id, runs.user_id, session.created_at as session_created_at
), dequeued as (
    delete from run_queue using run
    where run_queue.session_id = run.session_id and run_queue.seq = run.seq
), closed as (
    delete from open_runs using run
    where open_runs.run_id = $3
), heard as (
    insert into run_events (session_id, seq, first_index, names, data, created_at)
    select run.session_id, run.seq, $18, $19, $20, $13
    from run
    where cardinality($19::text[]) > 0
), said as (
    insert into messages (
        session_id, seq, index, message_id, role, content, words, reasoning, tool_calls,
        tool_call_id, tool_name, tool_args, tool_call_error, metrics, provider_data, created_at, session_created_at
    )
    select
        run.session_id, run.seq, m.index::integer, m.message_id, m.role::message_role, m.content,
        case m.role when 'assistant' then search_words($16::text::regconfig, m.content) end, m.reasoning, m.tool_calls,
        m.tool_call_id, m.tool_name, m.tool_args, m.tool_call_error, m.metrics, m.provider_data, m.created_at,
        run.session_created_at
    from run, rows from (
        jsonb_to_recordset($14) as (
            message_id uuid, role text, content text, reasoning text, tool_calls jsonb, tool_call_id text,
            tool_name text, tool_args jsonb, tool_call_error boolean, metrics jsonb, provider_data jsonb,
            created_at timestamptz
        )
    ) with ordinality as m (
        message_id, role, content, reasoning, tool_calls, tool_call_id,
        tool_name, tool_args, tool_call_error, metrics, provider_data, created_at, index
    )
), unread as (
    insert into memory_turns (user_id, session_id, seq, agent_id)
    select run.user_id, run.session_id, run.seq, run.component_id
    from run
    where $23 and run.user_id is not null
), cost as (
    insert into session_usage as u (
        session_id, purpose, model_provider, model, input_tokens, output_tokens, total_tokens,
        reasoning_tokens, cache_read_tokens, cache_write_tokens
    )
    select
        run.session_id, 'run'::usage_purpose, m.provider, m.id, m.input_tokens, m.output_tokens, m.total_tokens,
        coalesce(m.reasoning_tokens, 0), coalesce(m.cache_read_tokens, 0), coalesce(m.cache_write_tokens, 0)
    from run, jsonb_to_recordset($15) as m (
        provider text, id text, input_tokens bigint, output_tokens bigint, total_tokens bigint,
        reasoning_tokens bigint, cache_read_tokens bigint, cache_write_tokens bigint
    )
    on conflict (session_id, purpose, model_provider, model) do update set
        input_tokens = u.input_tokens + excluded.input_tokens,
        output_tokens = u.output_tokens + excluded.output_tokens,
        total_tokens = u.total_tokens + excluded.total_tokens,
        reasoning_tokens = u.reasoning_tokens + excluded.reasoning_tokens,
        cache_read_tokens = u.cache_read_tokens + excluded.cache_read_tokens,
        cache_write_tokens = u.cache_write_tokens + excluded.cache_write_tokens
)
select session_state as "session_state!: Json<Map<String, Value>>", active_seq,
       coalesce(fold_queued_by = $2, false) as "folds!"
from session left join run using (session_id)
-- A session must not be changed by a run that is not settled.
where case when run.session_id is null then overtaken() else true end
