-- Runs in order, runs that outlive their process, and words to search by.

-- The words of what was said, for full-text search. Filled by the statement that stores the message, not generated: the
-- configuration is a setting. A text can be longer than a tsvector may be, so its first part stands for it.
create function search_words(config regconfig, content text) returns tsvector
    language sql immutable parallel safe
    return to_tsvector(config, left(content, 100000));

alter table messages add column words tsvector;
create index messages_words on messages using gin (words);

-- The processes that serve or work on this database. One that does not renew its row in time is dead, by the database's
-- clock: its runs are taken up by others or ended.
create table processes (
    process_id uuid not null,
    expires_at timestamptz not null,
    -- No run that the process executes is older than this: a recovery need not look further back.
    oldest_run uuid not null,
    started_at timestamptz not null,
    constraint processes_pkey primary key (process_id)
);

-- The queue of a session is in its row, so that whoever holds the row's lock sees all of it.
-- No index knows these columns: an update of them stays cheap.
alter table sessions
    -- The run whose turn it is; null: the session is free.
    add column active_seq bigint,
    -- The runs that wait for their turn, in order of arrival.
    add column waiting bigint[] not null default '{}';

alter table runs
    -- Who executes the run. Only that process may settle it.
    add column process_id uuid,
    add column cancel_requested_at timestamptz,
    -- The run that this one continues in another direction.
    add column forked_from_run_id uuid,
    -- The run that this one replaces.
    add column regenerated_from uuid;

-- Runs that wait for their turn, and background runs until they have ended. Most runs never have a row here.
create table run_queue (
    session_id text collate "C" not null,
    seq bigint not null,
    run_id uuid not null,
    -- The process whose client waits, or which executes the run. Null: any process may take it.
    process_id uuid,
    background boolean not null,
    attempts smallint not null default 0,
    max_attempts smallint not null default 1,
    -- What was asked for, by which another process can execute it. Null: only this process can.
    request jsonb,
    constraint run_queue_pkey primary key (session_id, seq),
    constraint run_queue_run_exists foreign key (session_id, seq) references runs on delete cascade
);
create index run_queue_by_process on run_queue (process_id, run_id);

-- The event stream of runs that may be picked up again, in batches.
create table run_events (
    session_id text collate "C" not null,
    seq bigint not null,
    -- The index of the batch's first event.
    first_index integer not null,
    names text[] not null,
    -- One line of JSON for each event.
    data text[] not null,
    created_at timestamptz not null,
    constraint run_events_pkey primary key (session_id, seq, first_index),
    constraint run_events_run_exists foreign key (session_id, seq) references runs on delete cascade
);
create index run_events_by_age on run_events (created_at);
