-- Runs. A run is written once when it is accepted (`runs`) and once when it ends (`outcomes`). What it did in between is
-- in `run_steps`, for the runs that called tools. While it is open, its state is in `open_runs`, a small table.
--
-- A run costs PostgreSQL about as much as the rows and index entries that it makes. So there are no rows of messages:
-- the user's message is in the run's row, the answer in the outcome's. The view `messages` shows them as messages.

create type run_status as enum ('PENDING', 'RUNNING', 'PAUSED', 'COMPLETED', 'CANCELLED', 'ERROR', 'REGENERATED');
create type message_role as enum ('user', 'assistant', 'tool');

-- A text as it is split into words. PostgreSQL's parser takes what is between `<` and `>`, or `&` and `;`, for markup and
-- leaves it out, and takes Chinese or Japanese, which have no spaces, for one word. So other characters stand for `<` and
-- `&`, and each character of these scripts becomes a word. Whoever shows the text reverses this
-- (`src/sessions/excerpt.rs`); the characters that stand for others are removed from the text first.
create function search_text(content text) returns text
    language sql immutable parallel safe
    return regexp_replace(
        translate(content, E'<&\x02\x03\x04\x05\x06', E'\x04\x06'),
        '([\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff])',
        E'\x05\\1\x05',
        'g'
    );

-- The words of a text, for full-text search. Stored by the statements that store the text, and not generated: the
-- configuration is a setting. A text can be longer than a tsvector may be, so its first part stands for it.
create function search_words(config regconfig, content text) returns tsvector
    language sql immutable parallel safe
    return to_tsvector(config, search_text(left(content, 100000)));

create table runs (
    tenant_id text collate "C" not null,
    session_id text collate "C" not null,
    -- Gapless within the session, in the order of acceptance.
    seq bigint not null,
    -- Minted by the server (UUIDv7), never taken from a client.
    run_id uuid not null,
    -- The run that this one is a part of, as a member of a team or a step of a workflow.
    parent_run_id uuid,
    -- The run that this one continues in another direction, and the one that it replaces.
    forked_from_run_id uuid,
    regenerated_from uuid,
    component_kind session_type not null default 'agent',
    component_id text collate "C" not null,
    user_id text collate "C",
    -- Whether the session has no user, so that the run's user decides who may read the run.
    is_shared boolean not null,
    -- The user's message. Its id is null when the message was deleted.
    input text not null,
    message_id uuid,
    words tsvector,
    metadata jsonb not null default '{}',
    created_at timestamptz not null,
    -- When the session was created, which never changes: a search lists the newest sessions first.
    session_created_at timestamptz not null,
    constraint runs_pkey primary key (tenant_id, session_id, seq),
    constraint runs_session_exists foreign key (tenant_id, session_id) references sessions on delete cascade
);

create index runs_by_id on runs (tenant_id, run_id);
create index runs_of_parent on runs (tenant_id, parent_run_id) where parent_run_id is not null;
-- What a user has said in sessions without a user.
create index runs_of_user on runs (tenant_id, user_id) where is_shared and user_id is not null;
create index runs_words on runs using gin (words);
-- A search for the newest sessions reads no older hits. Such an index has an entry for many pages, none for a row.
create index runs_by_session_time on runs using brin (session_created_at) with (autosummarize = on);

-- The end of a run. A run without a row here is open.
create table outcomes (
    tenant_id text collate "C" not null,
    session_id text collate "C" not null,
    seq bigint not null,
    status run_status not null,
    -- The answer, or what there is of it.
    content text,
    -- {"type", "message", "detail"} of a run that failed; the detail is for operators.
    error jsonb,
    model text,
    model_provider text,
    -- Why the model stopped, in its provider's word.
    finish_reason text,
    -- Tokens in all and by model, seconds until the first token and in all.
    metrics jsonb not null default '{}',
    -- The session's state when the run had settled; null where it was empty.
    session_state jsonb,
    -- What the model saw: how many runs of history, and which.
    context jsonb not null default '{}',
    -- The tool executions, as the wire shows them.
    tools jsonb not null default '[]',
    -- What the run takes in a later prompt. Null: it was not counted.
    tokens integer,
    finished_at timestamptz not null,
    -- Where the end of the run is to be told. Often a secret: removed when it has been told.
    webhook_url text,
    -- The answer as a message whose text is `content`: its place after the run's steps, and what else it has. The place
    -- is null if there is no such message.
    answer_index integer,
    answer_id uuid,
    reasoning text,
    answer_metrics jsonb,
    -- What the provider wants to be given back with the message, as it was.
    provider_data jsonb,
    answered_at timestamptz,
    words tsvector,
    session_created_at timestamptz not null,
    constraint outcomes_pkey primary key (tenant_id, session_id, seq),
    constraint outcomes_run_exists foreign key (tenant_id, session_id, seq) references runs on delete cascade
);

create index outcomes_words on outcomes using gin (words);
create index outcomes_by_session_time on outcomes using brin (session_created_at) with (autosummarize = on);

-- The messages between the user's and the answer: calls of tools and their results.
create table run_steps (
    tenant_id text collate "C" not null,
    session_id text collate "C" not null,
    seq bigint not null,
    -- The place within the run. The user's message is 0.
    index integer not null,
    message_id uuid not null,
    role message_role not null,
    content text,
    reasoning text,
    -- The calls of an assistant message: [{"id", "name", "arguments"}].
    tool_calls jsonb,
    -- On a tool message: the call that it answers.
    tool_call_id text,
    tool_name text,
    tool_args jsonb,
    tool_call_error boolean,
    metrics jsonb,
    provider_data jsonb,
    created_at timestamptz not null,
    words tsvector,
    session_created_at timestamptz not null,
    constraint run_steps_pkey primary key (tenant_id, session_id, seq, index),
    constraint run_steps_run_exists foreign key (tenant_id, session_id, seq) references runs on delete cascade
);

create index run_steps_words on run_steps using gin (words);
create index run_steps_by_session_time on run_steps using brin (session_created_at) with (autosummarize = on);

-- All messages. Its condition stands outside of the union, because PostgreSQL joins a union by the indexes of its parts
-- only if the parts have no conditions. A page of a session's messages goes run by run, since the parts have no common
-- order: `from runs r cross join lateral (select … from messages m where … m.seq = r.seq)`.
create view messages as
select * from (
    select tenant_id, session_id, seq, 0 as index, message_id, 'user'::message_role as role, input as content,
           null::text as reasoning, null::jsonb as tool_calls, null::text as tool_call_id, null::text as tool_name,
           null::jsonb as tool_args, null::boolean as tool_call_error, null::jsonb as metrics,
           null::jsonb as provider_data, created_at, words, session_created_at
    from runs
    union all
    select tenant_id, session_id, seq, index, message_id, role, content, reasoning, tool_calls, tool_call_id, tool_name,
           tool_args, tool_call_error, metrics, provider_data, created_at, words, session_created_at
    from run_steps
    union all
    select tenant_id, session_id, seq, answer_index, answer_id, 'assistant'::message_role, content, reasoning,
           null::jsonb, null::text, null::text, null::jsonb, null::boolean, answer_metrics, provider_data, answered_at,
           words, session_created_at
    from outcomes
) m
where index is not null and message_id is not null;

-- Runs that have not ended: one row each, deleted by the statement that ends the run.
create table open_runs (
    tenant_id text collate "C" not null,
    session_id text collate "C" not null,
    seq bigint not null,
    run_id uuid not null,
    status run_status not null,
    -- The process that executes the run. Only that process may settle it. Null: it waits for its turn, or for a process.
    process_id uuid,
    -- The process whose client waits for a run that has not begun. Null for background runs.
    waiter_id uuid,
    cancel_requested_at timestamptz,
    -- Whether no client waits: any process may take the run.
    background boolean not null,
    attempts smallint not null default 0,
    max_attempts smallint not null default 1,
    -- What was asked for, by which another process can execute the run. Null: only this process can.
    request jsonb,
    -- Whose share of the background capacity the run takes: the user who asked for it; empty for runs without a user,
    -- which share one.
    share text collate "C" not null default '',
    -- False while the run waits behind another one of its session. Only a hint that keeps such rows out of the way of
    -- whoever takes runs: the session's row decides.
    ready boolean not null default true,
    -- A beginning that failed for a moment is tried again after this, and how often it has failed.
    not_before timestamptz,
    failures smallint not null default 0,
    -- The processes that cannot execute the run, because they do not know what it asks for; since when, and why.
    declined_by uuid[] not null default '{}',
    declined_at timestamptz,
    declined_because text,
    constraint open_runs_pkey primary key (tenant_id, session_id, seq),
    constraint open_runs_run_exists foreign key (tenant_id, session_id, seq) references runs on delete cascade
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0,
        autovacuum_analyze_threshold = 5000);

-- Where the end of a queued run is to be told. Null also if a newer build has stored it in another form.
create function requested_webhook(request jsonb) returns text language sql immutable parallel safe
    return jsonb_path_query_first(request, '$.delivery.webhook_url ? (@.type() == "string")') #>> '{}';

-- Runs with their outcome, or with their state while they are open.
create view run_records as
select r.tenant_id, r.session_id, r.seq, r.run_id, r.parent_run_id, r.forked_from_run_id, r.regenerated_from,
       r.component_kind, r.component_id, r.user_id, r.is_shared, r.input, r.metadata, r.created_at,
       coalesce(o.status, q.status) as status, o.content, o.error, o.model, o.model_provider, o.finish_reason,
       coalesce(o.metrics, '{}') as metrics, o.session_state, coalesce(o.context, '{}') as context,
       coalesce(o.tools, '[]') as tools, o.tokens, o.finished_at, q.process_id, q.cancel_requested_at
from runs r
left join outcomes o on o.tenant_id = r.tenant_id and o.session_id = r.session_id and o.seq = r.seq
left join open_runs q on q.tenant_id = r.tenant_id and q.session_id = r.session_id and q.seq = r.seq;

-- Background runs that wait: those whose turn it is are taken user by user, through all tenants; all are counted.
create index open_runs_to_take on open_runs (tenant_id, share, run_id) where background and process_id is null and ready;
create index open_runs_waiting on open_runs (tenant_id, share) where background and process_id is null;

-- Whoever hands a session on, in whatever way, makes the next run ready.
create function ready_next_run() returns trigger language plpgsql set search_path from current as $$
begin
    update open_runs set ready = true
    where tenant_id = new.tenant_id and session_id = new.session_id and seq = new.active_seq and not ready;
    return null;
end
$$;

create trigger sessions_ready_the_next_run
    after update of active_seq on sessions
    for each row
    when (old.active_seq is not null and new.active_seq <> old.active_seq)
    execute function ready_next_run();

-- The event stream of runs that may be resumed, in batches.
create table run_events (
    tenant_id text collate "C" not null,
    session_id text collate "C" not null,
    seq bigint not null,
    -- The index of the batch's first event.
    first_index integer not null,
    names text[] not null,
    -- One line of JSON for each event.
    data text[] not null,
    created_at timestamptz not null,
    constraint run_events_pkey primary key (tenant_id, session_id, seq, first_index),
    constraint run_events_run_exists foreign key (tenant_id, session_id, seq) references runs on delete cascade
);
create index run_events_by_age on run_events (tenant_id, created_at);

-- The processes that serve or work on this database. One that does not renew its row in time is dead, by the database's
-- clock: its runs are continued by others, or ended.
create table processes (
    process_id uuid not null,
    expires_at timestamptz not null,
    started_at timestamptz not null,
    constraint processes_pkey primary key (process_id)
);

-- Requests with an Idempotency-Key, for a day.
create table idempotency_keys (
    tenant_id text collate "C" not null,
    -- What was asked for: the method and the path.
    scope text collate "C" not null,
    key text collate "C" not null,
    -- SHA-256 of the rest of the request.
    fingerprint bytea not null,
    -- The run that the request began; it is found again by these.
    session_id text collate "C",
    run_seq bigint,
    -- The answer. Null: there is none yet.
    status smallint,
    body text,
    etag text,
    created_at timestamptz not null,
    constraint idempotency_keys_pkey primary key (tenant_id, scope, key)
);
create index idempotency_keys_by_created on idempotency_keys (tenant_id, created_at);

-- When a regular job was queued last, by the database's clock. The queue's library keeps such times by the clock of the
-- process: one that was ahead stopped the job for all until its time had come.
create table schedule (
    job text collate "C" not null,
    queued_at timestamptz not null,
    constraint schedule_pkey primary key (job)
);
