-- Memories: lasting facts about a user, where they come from and how they came to be as they are.

create type memory_action as enum ('add', 'confirm', 'edit', 'supersede');

create table memories (
    user_id text collate "C" not null,
    -- Minted by the server (UUIDv7).
    memory_id uuid not null,
    memory text not null,
    topics text[] not null default '{}',
    agent_id text collate "C",
    team_id text collate "C",
    -- SHA-256 of the text without case, marks and spaces: the same fact is kept once.
    hash bytea not null,
    -- Said or changed over the API: it lives without a source.
    is_own boolean not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    valid_from timestamptz not null,
    -- Since when a newer memory has taken its place: out of search and prompts, kept as history.
    valid_to timestamptz,
    superseded_by uuid,
    expires_at timestamptz,
    words tsvector not null,
    -- 32-bit floats, little-endian, and the model that they are of.
    embedding bytea,
    embedding_model text,
    constraint memories_pkey primary key (user_id, memory_id),
    -- What a memory took the place of is erased with it.
    constraint memories_successor_exists foreign key (user_id, superseded_by) references memories on delete cascade
);

create unique index memories_once on memories (user_id, hash) where valid_to is null;
create index memories_by_id on memories (memory_id);
create index memories_by_updated on memories (updated_at, memory_id);
create index memories_of_user_by_updated on memories (user_id, updated_at, memory_id);
create index memories_by_successor on memories (user_id, superseded_by) where superseded_by is not null;
create index memories_words on memories using gin (words);

-- The runs that a memory was drawn from.
create table memory_sources (
    user_id text collate "C" not null,
    memory_id uuid not null,
    session_id text collate "C" not null,
    seq bigint not null,
    constraint memory_sources_pkey primary key (user_id, memory_id, session_id, seq),
    constraint memory_sources_memory_exists foreign key (user_id, memory_id) references memories on delete cascade,
    constraint memory_sources_run_exists foreign key (session_id, seq) references runs on delete cascade
);

create index memory_sources_by_run on memory_sources (session_id, seq);

-- What happened to a memory. Each row has what the memory said from then on; what it said before is in the row before,
-- so that a text stands in the row of the run that it was drawn from, and goes with it.
create table memory_events (
    user_id text collate "C" not null,
    memory_id uuid not null,
    event_id uuid not null,
    action memory_action not null,
    memory text not null,
    topics text[] not null,
    session_id text collate "C",
    seq bigint,
    created_at timestamptz not null,
    constraint memory_events_pkey primary key (user_id, memory_id, event_id),
    constraint memory_events_memory_exists foreign key (user_id, memory_id) references memories on delete cascade,
    constraint memory_events_run_exists foreign key (session_id, seq) references runs on delete cascade
);

create index memory_events_by_run on memory_events (session_id, seq) where session_id is not null;

-- A memory goes with its last source, unless the user has said it over the API. What it had taken the place of is true
-- again, if that still has a source.
--
-- A trigger, because runs are deleted in many ways (a session, a run, a user, retention, by hand), all of which end in
-- the cascade to memory_sources: no statement can forget it.
create function delete_memories_without_source() returns trigger language plpgsql as $$
begin
    -- What a lost memory had taken the place of is succeeded by what has taken the place of the lost one, if anything.
    with recursive lost as (
        select distinct m.user_id, m.memory_id, m.superseded_by
        from gone join memories m using (user_id, memory_id)
        where not m.is_own
          and not exists (select from memory_sources s where s.user_id = m.user_id and s.memory_id = m.memory_id)
    ), walk as (
        select m.user_id, m.memory_id, lost.superseded_by
        from lost join memories m on m.user_id = lost.user_id and m.superseded_by = lost.memory_id
        where not exists (select from lost too where too.user_id = m.user_id and too.memory_id = m.memory_id)
        union all
        select walk.user_id, walk.memory_id, lost.superseded_by
        from walk join lost on lost.user_id = walk.user_id and lost.memory_id = walk.superseded_by
    )
    update memories m
    set superseded_by = walk.superseded_by
    from walk
    where m.user_id = walk.user_id
      and m.memory_id = walk.memory_id
      and not exists (select from lost where lost.user_id = walk.user_id and lost.memory_id = walk.superseded_by);

    delete from memories m
    using gone
    where m.user_id = gone.user_id
      and m.memory_id = gone.memory_id
      and not m.is_own
      and not exists (select from memory_sources s where s.user_id = m.user_id and s.memory_id = m.memory_id);

    update memories m
    set valid_to = null
    from (
        select distinct on (user_id, hash) user_id, memory_id, hash
        from memories
        where user_id in (select user_id from gone) and valid_to is not null and superseded_by is null
        order by user_id, hash, valid_to desc
    ) ended
    where m.user_id = ended.user_id
      and m.memory_id = ended.memory_id
      and not exists (
          select from memories same
          where same.user_id = ended.user_id and same.hash = ended.hash and same.valid_to is null
      );
    return null;
end
$$;

create trigger memory_sources_deleted
    after delete on memory_sources
    referencing old table as gone
    for each statement execute function delete_memories_without_source();

-- Settled runs that memories are still to be drawn from. A row is removed in the transaction that stores what was
-- learned, so that every run is read once, whatever dies meanwhile.
create table memory_turns (
    user_id text collate "C" not null,
    session_id text collate "C" not null,
    seq bigint not null,
    agent_id text collate "C" not null,
    constraint memory_turns_pkey primary key (user_id, session_id, seq),
    constraint memory_turns_run_exists foreign key (session_id, seq) references runs on delete cascade
);

create index memory_turns_by_run on memory_turns (session_id, seq);

-- Whether a job that reads the user's turns waits already: then a run has none to enqueue, and nobody to notify.
create table memory_learners (
    user_id text collate "C" not null,
    is_waiting boolean not null,
    constraint memory_learners_pkey primary key (user_id)
);
