-- Vectors: what texts are about, as an embedding model sees it. Without such a model these tables stay empty.

-- A direction alone: signed bytes, one for each dimension. Cosines do not ask how long a vector is.
create table message_vectors (
    session_id text collate "C" not null,
    seq bigint not null,
    index integer not null,
    -- Empty: the model takes no such text.
    embedding bytea not null,
    -- The model and its number of dimensions.
    embedding_model text collate "C" not null,
    -- When the message was said, so that a search between two times needs no message.
    said_at timestamptz not null,
    constraint message_vectors_pkey primary key (session_id, seq, index),
    constraint message_vectors_message_exists foreign key (session_id, seq, index) references messages on delete cascade
);

-- Bytes of this kind do not get shorter by compression.
alter table message_vectors alter column embedding set storage external;
alter table memories alter column embedding set storage external;

comment on column memories.embedding is 'as in message_vectors';

-- Memories without a vector of a model, without reading those that have one.
create index memories_by_embedding_model on memories (embedding_model) where valid_to is null;

-- Sessions in which something was said since their messages were looked at. A message has no mark of its own, because
-- that would cost those who use no vectors.
create table unembedded_sessions (
    session_id text collate "C" not null,
    -- Tells whether more was said while they were looked at.
    noted_at timestamptz not null,
    constraint unembedded_sessions_pkey primary key (session_id),
    constraint unembedded_sessions_session_exists foreign key (session_id) references sessions on delete cascade
);

create index unembedded_sessions_by_time on unembedded_sessions (noted_at);

-- One row.
create table embedding_state (
    only_one boolean not null default true,
    -- The model that all sessions were noted for. Null: none.
    model text collate "C",
    -- Since when a job waits that will look at what was noted; so most runs enqueue none.
    job_waits_since timestamptz,
    constraint embedding_state_pkey primary key (only_one),
    constraint embedding_state_is_one_row check (only_one)
);

insert into embedding_state default values;
