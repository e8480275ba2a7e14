-- Copies a session with the runs that have ended, all or up to one, their messages and summaries, in one statement.
--
-- Runs are numbered anew, without gaps, and get ids of their own, as do messages; what runs say of each other follows.
-- The state is the one after the last run that is copied. What the source has cost was paid once and is not copied.
-- There is no copy of a session without runs.
with source as (
    select * from sessions where tenant_id = $1 and session_id = $2 and ($3::text is null or user_id = $3)
), kept as (
    select r.seq, r.run_id, row_number() over (order by r.seq) as new_seq, mint_id() as new_id
    from source
    join runs r on r.tenant_id = $1 and r.session_id = $2
    join outcomes o on o.tenant_id = $1 and o.session_id = $2 and o.seq = r.seq
    where $5::bigint is null or r.seq <= $5
), versions as (
    -- Those that cover nothing but what is copied.
    select v.*, kept.new_seq
    from summaries v join kept on kept.seq = v.through_seq
    where v.tenant_id = $1 and v.session_id = $2
), boundary as (
    select coalesce(max(new_seq), 0) as new_seq from versions
), unfolded as (
    select coalesce(sum(o.tokens), 0) as tokens, count(*) as runs
    from kept join outcomes o on o.tenant_id = $1 and o.session_id = $2 and o.seq = kept.seq
    where kept.new_seq > (select new_seq from boundary) and o.status = 'COMPLETED'
), steps as materialized (
    select kept.new_seq, s.*
    from kept join run_steps s on s.tenant_id = $1 and s.session_id = $2 and s.seq = kept.seq
), counted as (
    select (select count(*) from kept) as runs,
           (select count(*) from steps) + count(r.message_id) + count(o.answer_index) as messages
    from kept
    join runs r on r.tenant_id = $1 and r.session_id = $2 and r.seq = kept.seq
    join outcomes o on o.tenant_id = $1 and o.session_id = $2 and o.seq = kept.seq
), copy as (
    insert into sessions (
        tenant_id, session_id, session_type, component_id, user_id, session_name, named_by, session_state, metadata,
        last_seq, run_count, message_count, summary_through, unfolded_tokens, unfolded_runs, created_at, updated_at,
        forked_from
    )
    select
        $1, $4, session_type, component_id, user_id, coalesce($6, session_name),
        case when $6::text is null then named_by else 'user'::named_by end,
        case when $5::bigint is null then session_state
             else coalesce(
                 -- Turns that were said elsewhere have none: they change nothing.
                 (
                     select o.session_state from outcomes o
                     where o.tenant_id = $1 and o.session_id = $2 and o.seq <= $5 and o.session_state is not null
                     order by o.seq desc limit 1
                 ),
                 session_state
             ) end,
        metadata, counted.runs, counted.runs, counted.messages, boundary.new_seq, unfolded.tokens, unfolded.runs, $7, $7,
        session_id
    from source, boundary, unfolded, counted
    where counted.runs > 0
    returning session_id, user_id is null as is_shared, created_at
), copied_runs as (
    insert into runs (
        tenant_id, session_id, seq, run_id, parent_run_id, forked_from_run_id, regenerated_from, component_kind,
        component_id, user_id, is_shared, input, message_id, words, metadata, created_at, session_created_at
    )
    select
        $1, copy.session_id, kept.new_seq, kept.new_id,
        (select k.new_id from kept k where k.run_id = r.parent_run_id),
        (select k.new_id from kept k where k.run_id = r.forked_from_run_id),
        (select k.new_id from kept k where k.run_id = r.regenerated_from),
        r.component_kind, r.component_id, r.user_id, copy.is_shared, r.input,
        case when r.message_id is not null then mint_id() end, r.words, r.metadata, r.created_at, copy.created_at
    from copy, kept join runs r on r.tenant_id = $1 and r.session_id = $2 and r.seq = kept.seq
), copied_outcomes as (
    insert into outcomes (
        tenant_id, session_id, seq, status, content, error, model, model_provider, finish_reason, metrics, session_state,
        context, tools, tokens, finished_at, answer_index, answer_id, reasoning, answer_metrics, provider_data,
        answered_at, words, session_created_at
    )
    select
        $1, copy.session_id, kept.new_seq, o.status, o.content, o.error, o.model, o.model_provider, o.finish_reason,
        o.metrics, o.session_state, o.context, o.tools, o.tokens, o.finished_at, o.answer_index,
        case when o.answer_index is not null then mint_id() end, o.reasoning, o.answer_metrics, o.provider_data,
        o.answered_at, o.words, copy.created_at
    from copy, kept join outcomes o on o.tenant_id = $1 and o.session_id = $2 and o.seq = kept.seq
), copied_steps as (
    insert into run_steps (
        tenant_id, session_id, seq, index, message_id, role, content, reasoning, tool_calls, tool_call_id, tool_name,
        tool_args, tool_call_error, metrics, provider_data, created_at, words, session_created_at
    )
    select
        $1, copy.session_id, m.new_seq, m.index, mint_id(), m.role, m.content, m.reasoning, m.tool_calls, m.tool_call_id,
        m.tool_name, m.tool_args, m.tool_call_error, m.metrics, m.provider_data, m.created_at, m.words, copy.created_at
    from copy, steps m
), copied_versions as (
    insert into summaries (
        tenant_id, session_id, through_seq, summary, about_user, topics, tokens, folded_runs, folded_tokens, model,
        model_provider, created_at
    )
    select
        $1, copy.session_id, v.new_seq, v.summary, v.about_user, v.topics, v.tokens, v.folded_runs, v.folded_tokens,
        v.model, v.model_provider, v.created_at
    from copy, versions v
)
select count(*) as "copied!" from copy
