-- Every version of every summary. The session's own is the one at its boundary, `sessions.summary_through`.
create table summaries (
    tenant_id text collate "C" not null,
    session_id text collate "C" not null,
    -- It covers the completed runs up to this one.
    through_seq bigint not null,
    summary text not null,
    -- The part about the user, with which the summary begins: the next version must not lose it. Empty: there is none,
    -- or it is not known which part it is.
    about_user text not null default '',
    topics text[] not null,
    tokens integer not null,
    -- What it was made of: this many runs after the version before it.
    folded_runs integer not null,
    folded_tokens bigint not null,
    model text not null,
    model_provider text not null,
    created_at timestamptz not null,
    constraint summaries_pkey primary key (tenant_id, session_id, through_seq),
    constraint summaries_session_exists foreign key (tenant_id, session_id) references sessions on delete cascade
);
