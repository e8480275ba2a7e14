-- Copies a session with the runs that have ended, all or up to one, their messages and summaries, in one statement.
--
-- Runs are numbered anew, without gaps, and get ids of their own, as do messages; what runs say of each other follows.
-- The state is the one after the last run that is copied. What the source has cost was paid once and is not copied.
-- There is no copy of a session without runs.
with source as (
    select * from sessions where session_id = $1 and ($2::text is null or user_id = $2)
), kept as (
    select r.seq, r.run_id, row_number() over (order by r.seq) as new_seq, mint_id() as new_id
    from runs r join source using (session_id)
    where r.status in ('COMPLETED', 'CANCELLED', 'ERROR', 'REGENERATED') and ($4::bigint is null or r.seq <= $4)
), versions as (
    -- Those that cover nothing but what is copied.
    select v.*, kept.new_seq
    from summaries v join kept on kept.seq = v.through_seq
    where v.session_id = $1
), boundary as (
    select coalesce(max(new_seq), 0) as new_seq from versions
), unfolded as (
    select coalesce(sum(r.tokens), 0) as tokens, count(*) as runs
    from kept join runs r on r.session_id = $1 and r.seq = kept.seq
    where kept.new_seq > (select new_seq from boundary) and r.status = 'COMPLETED'
), copy as (
    insert into sessions (
        session_id, session_type, component_id, user_id, session_name, named_by, session_state, metadata,
        last_seq, run_count, message_count, summary_through, unfolded_tokens, unfolded_runs, created_at, updated_at,
        forked_from
    )
    select
        $3, session_type, component_id, user_id, coalesce($5, session_name),
        case when $5::text is null then named_by else 'user'::named_by end,
        case when $4::bigint is null then session_state
             else coalesce(
                 -- Turns that were said elsewhere have none: they change nothing.
                 (
                     select r.session_state from runs r
                     where r.session_id = $1 and r.seq <= $4 and r.session_state is not null
                     order by r.seq desc limit 1
                 ),
                 session_state
             ) end,
        metadata, (select count(*) from kept), (select count(*) from kept),
        (select count(*) from kept join messages m on m.session_id = $1 and m.seq = kept.seq),
        boundary.new_seq, unfolded.tokens, unfolded.runs, $6, $6, session_id
    from source, boundary, unfolded
    where exists (select from kept)
    returning session_id, created_at
), copied_runs as (
    insert into runs (
        session_id, seq, run_id, component_id, user_id, status, input, content, error, model, model_provider, metrics,
        session_state, metadata, context, tools, tokens, created_at, finished_at, forked_from_run_id, regenerated_from
    )
    select
        copy.session_id, kept.new_seq, kept.new_id, r.component_id, r.user_id, r.status, r.input, r.content, r.error,
        r.model, r.model_provider, r.metrics, r.session_state, r.metadata, r.context, r.tools, r.tokens, r.created_at,
        r.finished_at,
        (select k.new_id from kept k where k.run_id = r.forked_from_run_id),
        (select k.new_id from kept k where k.run_id = r.regenerated_from)
    from copy, kept join runs r on r.session_id = $1 and r.seq = kept.seq
), copied_messages as (
    insert into messages (
        session_id, seq, index, message_id, role, content, words, reasoning, tool_calls, tool_call_id, tool_name,
        tool_args, tool_call_error, metrics, provider_data, created_at, session_created_at
    )
    select
        copy.session_id, kept.new_seq, m.index, mint_id(), m.role, m.content, m.words, m.reasoning, m.tool_calls,
        m.tool_call_id, m.tool_name, m.tool_args, m.tool_call_error, m.metrics, m.provider_data, m.created_at,
        copy.created_at
    from copy, kept join messages m on m.session_id = $1 and m.seq = kept.seq
), copied_versions as (
    insert into summaries (
        session_id, through_seq, summary, about_user, topics, tokens, folded_runs, folded_tokens, model, model_provider,
        created_at
    )
    select
        copy.session_id, v.new_seq, v.summary, v.about_user, v.topics, v.tokens, v.folded_runs, v.folded_tokens, v.model,
        v.model_provider, v.created_at
    from copy, versions v
)
select count(*) as "copied!" from copy
