-- Conversations: sessions, their runs, the messages of each run, and what they cost.
--
-- Ids are compared byte by byte (collate "C"): their order must not depend on the server's locale.
-- What is one of a few words is an enum: a check constraint would be parsed again by every statement that writes.

create type session_type as enum ('agent', 'team', 'workflow');
create type named_by as enum ('user', 'message', 'model');
create type run_status as enum ('PENDING', 'RUNNING', 'PAUSED', 'COMPLETED', 'CANCELLED', 'ERROR', 'REGENERATED');
create type message_role as enum ('user', 'assistant', 'tool');
create type usage_purpose as enum ('run', 'summary', 'memory', 'title');

create table sessions (
    session_id text collate "C" not null,
    session_type session_type not null,
    -- The agent, team or workflow that the session began with.
    component_id text collate "C",
    -- Null: a session of nobody, which anybody may continue.
    user_id text collate "C",
    session_name text,
    -- Who gave the name: a name given by the user is never replaced.
    named_by named_by,
    session_state jsonb not null default '{}',
    metadata jsonb not null default '{}',
    -- Grows with every change of the row.
    version bigint not null default 1,
    -- The number of the newest run; numbers are given out by updating it.
    last_seq bigint not null default 0,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint sessions_pkey primary key (session_id)
) with (fillfactor = 80);

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
    status run_status not null,
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
    constraint runs_session_exists foreign key (session_id) references sessions on delete cascade
);

create index runs_by_id on runs (run_id);

create table messages (
    session_id text collate "C" not null,
    seq bigint not null,
    -- The place within the run: the user's message is 0.
    index integer not null,
    message_id uuid not null,
    role message_role not null,
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
    constraint messages_run_exists foreign key (session_id, seq) references runs on delete cascade
);

-- What a session has cost, by purpose and model. One row changes per run, whatever the session's length.
create table session_usage (
    session_id text collate "C" not null,
    purpose usage_purpose not null,
    model_provider text not null,
    model text not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    total_tokens bigint not null,
    reasoning_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    constraint session_usage_pkey primary key (session_id, purpose, model_provider, model),
    constraint session_usage_session_exists foreign key (session_id) references sessions on delete cascade
);
