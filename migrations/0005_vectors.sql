-- Vectors: what texts are about, as an embedding model sees it. Without such a model these tables stay empty.

-- Unit vectors: one signed byte for each dimension.
create table message_vectors (
    tenant_id text collate "C" not null,
    session_id text collate "C" not null,
    seq bigint not null,
    index integer not null,
    -- Empty: the model takes no such text.
    embedding bytea not null,
    -- The model and its number of dimensions.
    embedding_model text collate "C" not null,
    -- When the message was said, so that a search between two times needs no message.
    said_at timestamptz not null,
    constraint message_vectors_pkey primary key (tenant_id, session_id, seq, index),
    constraint message_vectors_run_exists foreign key (tenant_id, session_id, seq) references runs on delete cascade
);
-- Bytes of this kind do not get shorter by compression.
alter table message_vectors alter column embedding set storage external;

-- Dirty sessions: something was said in them since their messages were embedded. A message has no mark of its own,
-- because that would cost those who use no vectors.
create table unembedded_sessions (
    tenant_id text collate "C" not null,
    session_id text collate "C" not null,
    -- Tells whether more was said while they were read.
    noted_at timestamptz not null,
    constraint unembedded_sessions_pkey primary key (tenant_id, session_id),
    constraint unembedded_sessions_session_exists foreign key (tenant_id, session_id)
        references sessions on delete cascade
);
create index unembedded_sessions_by_time on unembedded_sessions (tenant_id, noted_at);

-- One row for the database.
create table embedding_state (
    only_one boolean not null default true,
    -- The model that all sessions were marked for. Null: none.
    model text collate "C",
    -- Since when a job waits that will embed what is dirty; so most runs enqueue none.
    job_waits_since timestamptz,
    constraint embedding_state_pkey primary key (only_one),
    constraint embedding_state_is_one_row check (only_one)
);

insert into embedding_state default values;
