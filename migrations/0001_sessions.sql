-- Conversations: sessions, their runs, the messages of each run, and what they cost.
--
-- Ids are compared byte by byte (collate "C"): their order must not depend on the server's locale.

create table sessions (
    session_id text collate "C" not null,
    session_type text not null,
    -- The agent, team or workflow that the session began with.
    component_id text collate "C",
    -- Null: a session of nobody, which anybody may continue.
    user_id text collate "C",
    session_name text,
    -- Who gave the name: a name given by the user is never replaced.
    named_by text,
    session_state jsonb not null default '{}',
    metadata jsonb not null default '{}',
    -- Grows with every change of the row.
    version bigint not null default 1,
    -- The number of the newest run; numbers are given out by updating it.
    last_seq bigint not null default 0,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    last_run_at timestamptz,
    constraint sessions_pkey primary key (session_id),
    constraint sessions_type_known check (session_type in ('agent', 'team', 'workflow')),
    constraint sessions_named_by_known check (named_by in ('user', 'message', 'model')),
    constraint sessions_name_has_author check ((session_name is null) = (named_by is null)),
    constraint sessions_state_is_object check (jsonb_typeof(session_state) = 'object'),
    constraint sessions_metadata_is_object check (jsonb_typeof(metadata) = 'object')
);

-- The order of lists is total: time, then id.
create index sessions_by_created on sessions (created_at, session_id);
create index sessions_by_updated on sessions (updated_at, session_id);
create index sessions_of_user_by_created on sessions (user_id, created_at, session_id);
create index sessions_of_user_by_updated on sessions (user_id, updated_at, session_id);

create table runs (
    session_id text collate "C" not null,
    -- Gapless within the session, in the order of acceptance.
    seq bigint not null,
    -- Minted by the server (UUIDv7), never taken from a client.
    run_id uuid not null,
    component_id text collate "C" not null,
    user_id text collate "C",
    status text not null,
    input text not null,
    content text,
    -- {"type", "message"} of a run that failed.
    error jsonb,
    model text,
    model_provider text,
    -- Tokens in all and by model, seconds until the first token and in all.
    metrics jsonb not null default '{}',
    -- The session's state when the run had settled; null where it was empty.
    session_state jsonb,
    metadata jsonb not null default '{}',
    -- What the model saw: how many runs of history, and which.
    context jsonb not null default '{}',
    -- The tool executions, as the wire shows them.
    tools jsonb not null default '[]',
    created_at timestamptz not null,
    finished_at timestamptz,
    constraint runs_pkey primary key (session_id, seq),
    constraint runs_session_exists foreign key (session_id) references sessions on delete cascade,
    constraint runs_status_known check (
        status in ('PENDING', 'RUNNING', 'PAUSED', 'COMPLETED', 'CANCELLED', 'ERROR', 'REGENERATED')
    ),
    constraint runs_finish check ((finished_at is null) = (status in ('PENDING', 'RUNNING', 'PAUSED')))
);

create index runs_by_id on runs (run_id);

create table messages (
    session_id text collate "C" not null,
    seq bigint not null,
    -- The place within the run: the user's message is 0.
    index integer not null,
    message_id uuid not null,
    role text not null,
    content text,
    reasoning text,
    -- The calls an assistant message makes: [{"id", "name", "arguments"}].
    tool_calls jsonb,
    -- On a tool message: the call that it answers.
    tool_call_id text,
    tool_name text,
    tool_args jsonb,
    tool_call_error boolean,
    metrics jsonb,
    provider_data jsonb,
    created_at timestamptz not null,
    constraint messages_pkey primary key (session_id, seq, index),
    constraint messages_run_exists foreign key (session_id, seq) references runs on delete cascade,
    constraint messages_role_known check (role in ('user', 'assistant', 'tool'))
);

-- What a session has cost, by purpose and model. One row changes per run, whatever the session's length.
create table session_usage (
    session_id text collate "C" not null,
    purpose text not null,
    model_provider text not null,
    model text not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    total_tokens bigint not null,
    reasoning_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    constraint session_usage_pkey primary key (session_id, purpose, model_provider, model),
    constraint session_usage_session_exists foreign key (session_id) references sessions on delete cascade,
    constraint session_usage_purpose_known check (purpose in ('run', 'summary', 'memory', 'title'))
);
