-- Rolling summaries: what of a session is in its summary, and what is still told word for word.
--
-- The boundary is one number in the session's row. The summary covers every run up to it, the verbatim part of a prompt
-- begins with the next: no gap, no overlap.

-- No index knows these columns: an update of them stays cheap.
alter table sessions
    -- The newest run that the summary covers; 0: there is no summary.
    add column summary_through bigint not null default 0,
    -- Tokens of the completed runs after it.
    add column unfolded_tokens bigint not null default 0,
    -- The run that has queued a fold which is not done yet.
    add column fold_queued_by bigint;

alter table runs
    -- What the run takes in a later prompt. Null: it was not counted.
    add column tokens integer;

-- Every version of every summary. The session's own is the one at its boundary.
create table summaries (
    session_id text collate "C" not null,
    -- It covers the completed runs up to this one.
    through_seq bigint not null,
    summary text not null,
    topics text[] not null,
    tokens integer not null,
    -- What it was made of: this many runs after the version before it.
    folded_runs integer not null,
    folded_tokens bigint not null,
    model text not null,
    model_provider text not null,
    created_at timestamptz not null,
    constraint summaries_pkey primary key (session_id, through_seq),
    constraint summaries_session_exists foreign key (session_id) references sessions on delete cascade
);
