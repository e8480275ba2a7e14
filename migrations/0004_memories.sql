-- Memories: lasting facts about a user, where they come from, and how they changed.

create type memory_action as enum ('add', 'confirm', 'edit', 'supersede');

create table memories (
    tenant_id text collate "C" not null,
    user_id text collate "C" not null,
    -- Minted by the server (UUIDv7).
    memory_id uuid not null,
    memory text not null,
    topics text[] not null default '{}',
    agent_id text collate "C",
    team_id text collate "C",
    -- What else the memory is limited to, such as a project: {"project": "p-1"}.
    labels jsonb not null default '{}',
    -- SHA-256 of the text without case, marks and spaces: the same fact is stored once.
    hash bytea not null,
    -- Said or changed over the API: it lives without a source.
    is_own boolean not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- When the user said it. Null: not known.
    said_at timestamptz,
    -- Since when it holds.
    valid_from timestamptz not null,
    -- Since when a newer memory has superseded it: out of search and prompts, kept as history.
    valid_to timestamptz,
    superseded_by uuid,
    expires_at timestamptz,
    words tsvector not null,
    -- What it takes in a prompt. Null: it was not counted.
    tokens integer,
    -- As in message_vectors.
    embedding bytea,
    embedding_model text,
    constraint memories_pkey primary key (tenant_id, user_id, memory_id),
    -- What a memory has superseded is erased with it.
    constraint memories_successor_exists foreign key (tenant_id, user_id, superseded_by)
        references memories on delete cascade
);

create unique index memories_once on memories (tenant_id, user_id, hash) where valid_to is null;
create index memories_by_id on memories (tenant_id, memory_id);
create index memories_by_updated on memories (tenant_id, updated_at, memory_id);
create index memories_of_user_by_updated on memories (tenant_id, user_id, updated_at, memory_id);
create index memories_by_successor on memories (tenant_id, user_id, superseded_by) where superseded_by is not null;
create index memories_by_expiry on memories (tenant_id, expires_at) where expires_at is not null;
-- Memories without a vector of a model, without reading those that have one.
create index memories_by_embedding_model on memories (tenant_id, embedding_model) where valid_to is null;
create index memories_words on memories using gin (words);
-- Bytes of this kind do not get shorter by compression.
alter table memories alter column embedding set storage external;

-- The messages that a memory was learned from.
create table memory_sources (
    tenant_id text collate "C" not null,
    user_id text collate "C" not null,
    memory_id uuid not null,
    session_id text collate "C" not null,
    seq bigint not null,
    -- The message within the run.
    index integer not null,
    constraint memory_sources_pkey primary key (tenant_id, user_id, memory_id, session_id, seq, index),
    constraint memory_sources_memory_exists foreign key (tenant_id, user_id, memory_id)
        references memories on delete cascade,
    constraint memory_sources_run_exists foreign key (tenant_id, session_id, seq) references runs on delete cascade
);
create index memory_sources_by_run on memory_sources (tenant_id, session_id, seq);

-- A memory is deleted with its last source, unless the user has said it over the API. What it had superseded holds again,
-- if that still has a source.
--
-- A trigger, because runs are deleted in many ways (a session, a run, a user, retention, by hand), all of which end in
-- the cascade to memory_sources: no statement can forget it.
create function delete_memories_without_source() returns trigger language plpgsql set search_path from current as $$
declare
    owner record;
    sourceless uuid[];
begin
    for owner in
        select tenant_id, user_id, array_agg(distinct memory_id) as memory_ids from gone group by tenant_id, user_id
    loop
        select coalesce(array_agg(m.memory_id), '{}') into sourceless
        from memories m
        where m.tenant_id = owner.tenant_id and m.user_id = owner.user_id and m.memory_id = any(owner.memory_ids)
          and not m.is_own
          and not exists (
              select from memory_sources s
              where s.tenant_id = owner.tenant_id and s.user_id = owner.user_id and s.memory_id = m.memory_id
          );

        -- What they had superseded is now superseded by what has superseded them, if anything.
        with recursive walk as (
            select m.memory_id, m.superseded_by
            from memories m
            where m.tenant_id = owner.tenant_id and m.user_id = owner.user_id
              and m.superseded_by = any(sourceless) and m.memory_id <> all(sourceless)
            union all
            select walk.memory_id, lost.superseded_by
            from walk join memories lost
              on lost.tenant_id = owner.tenant_id and lost.user_id = owner.user_id
                 and lost.memory_id = walk.superseded_by and lost.memory_id = any(sourceless)
        )
        update memories m
        set superseded_by = walk.superseded_by
        from walk
        where m.tenant_id = owner.tenant_id and m.user_id = owner.user_id and m.memory_id = walk.memory_id
          and (walk.superseded_by is null or walk.superseded_by <> all(sourceless));

        delete from memories m
        where m.tenant_id = owner.tenant_id and m.user_id = owner.user_id and m.memory_id = any(sourceless);

        update memories m
        set valid_to = null
        from (
            select distinct on (hash) memory_id, hash
            from memories
            where tenant_id = owner.tenant_id and user_id = owner.user_id
              and valid_to is not null and superseded_by is null
            order by hash, valid_to desc
        ) ended
        where m.tenant_id = owner.tenant_id and m.user_id = owner.user_id and m.memory_id = ended.memory_id
          and not exists (
              select from memories same
              where same.tenant_id = owner.tenant_id and same.user_id = owner.user_id and same.hash = ended.hash
                and same.valid_to is null
          );
    end loop;
    return null;
end
$$;

create trigger memory_sources_deleted
    after delete on memory_sources
    referencing old table as gone
    for each statement execute function delete_memories_without_source();

-- What happened to a memory. Each row has what the memory said from then on; what it said before is in the row before,
-- so that a text is in the row of the run that it was learned from, and is deleted with it.
create table memory_events (
    tenant_id text collate "C" not null,
    user_id text collate "C" not null,
    memory_id uuid not null,
    event_id uuid not null,
    action memory_action not null,
    memory text not null,
    topics text[] not null,
    session_id text collate "C",
    seq bigint,
    created_at timestamptz not null,
    constraint memory_events_pkey primary key (tenant_id, user_id, memory_id, event_id),
    constraint memory_events_memory_exists foreign key (tenant_id, user_id, memory_id)
        references memories on delete cascade,
    constraint memory_events_run_exists foreign key (tenant_id, session_id, seq) references runs on delete cascade
);
create index memory_events_by_run on memory_events (tenant_id, session_id, seq) where session_id is not null;

-- Settled runs that memories are still to be learned from. A row is deleted in the transaction that stores what was
-- learned, so that every run is read once, whatever dies meanwhile.
create table memory_turns (
    tenant_id text collate "C" not null,
    user_id text collate "C" not null,
    session_id text collate "C" not null,
    seq bigint not null,
    agent_id text collate "C" not null,
    -- Failed attempts. After the last one the turn is set aside until somebody asks for it again.
    attempts smallint not null default 0,
    set_aside boolean not null default false,
    constraint memory_turns_pkey primary key (tenant_id, user_id, session_id, seq),
    constraint memory_turns_run_exists foreign key (tenant_id, session_id, seq) references runs on delete cascade
);
create index memory_turns_by_run on memory_turns (tenant_id, session_id, seq);
-- However many are set aside, looking for those that are not is cheap.
create index memory_turns_to_read on memory_turns (tenant_id, user_id) where not set_aside;
