-- Sessions: conversations, and what they are listed by.
--
-- Every table with users' data begins its keys with `tenant_id`. A tenant is a customer of the operator: nothing of one
-- is visible to another. The column has no default value, so that a statement that forgets it fails.
--
-- Ids are compared byte by byte (collate "C"): their order must not depend on the server's locale.
-- A value out of a few words is an enum: a check constraint would be parsed again by every statement that writes.

create type session_type as enum ('agent', 'team', 'workflow');
create type named_by as enum ('user', 'message', 'model');

create table sessions (
    tenant_id text collate "C" not null,
    session_id text collate "C" not null,
    session_type session_type not null,
    -- The agent, team or workflow that the session began with.
    component_id text collate "C",
    -- Null: a session without a user, which anybody of the tenant may continue.
    user_id text collate "C",
    session_name text,
    -- Who gave the name: a name given by the user is never replaced.
    named_by named_by,
    session_state jsonb not null default '{}',
    metadata jsonb not null default '{}',
    -- The session that this one was copied from; it may have been deleted since.
    forked_from text collate "C",
    created_at timestamptz not null,
    archived_at timestamptz,
    -- Retention and expiry leave it alone.
    pinned boolean not null default false,
    expires_at timestamptz,
    -- Grows with every change of the row.
    version bigint not null default 1,

    -- What follows changes with every run. Of these columns only `updated_at` is indexed, so that the row can be
    -- changed in place (HOT) when a run is accepted.

    -- The number of the newest run; numbers are assigned by updating it.
    last_seq bigint not null default 0,
    -- The queue of the session is in its row, so that whoever locks the row sees all of it: the run whose turn it is
    -- (null: the session is free), and the runs that wait for their turn, in order of arrival.
    active_seq bigint,
    waiting bigint[] not null default '{}',
    run_count bigint not null default 0,
    message_count bigint not null default 0,
    -- The newest run that the summary covers; 0: there is no summary. The verbatim part of a prompt begins with the
    -- next run: no gap, no overlap.
    summary_through bigint not null default 0,
    -- Tokens and number of the completed runs after it.
    unfolded_tokens bigint not null default 0,
    unfolded_runs bigint not null default 0,
    -- The run that has queued a fold which is not done yet.
    fold_queued_by bigint,
    -- Token usage: see `add_usage`.
    usage jsonb not null default '{}',
    updated_at timestamptz not null,
    constraint sessions_pkey primary key (tenant_id, session_id)
) with (fillfactor = 70);

-- The order of lists is total: time, then id. Every run moves its session to the end of these indexes.
create index sessions_by_updated on sessions (tenant_id, updated_at, session_id);
create index sessions_of_user_by_updated on sessions (tenant_id, user_id, updated_at, session_id);
create index sessions_of_component_by_updated on sessions (tenant_id, component_id, updated_at, session_id);
-- Few rows among many: a row that is not in these costs nothing when it changes.
create index sessions_of_other_types_by_updated on sessions (tenant_id, session_type, updated_at, session_id)
    where session_type <> 'agent';
create index sessions_expiring on sessions (tenant_id, expires_at) where expires_at is not null;

-- What a session is listed by, except the time of its last change. The session's row changes with every run, and a
-- changed row is entered anew into every index of its table; these values hardly ever change. `sessions` is the one
-- place that is written to: triggers copy from there.
create table session_labels (
    tenant_id text collate "C" not null,
    session_id text collate "C" not null,
    session_type session_type not null,
    component_id text collate "C",
    user_id text collate "C",
    -- Empty where the session has no name.
    name text not null,
    metadata jsonb not null,
    created_at timestamptz not null,
    archived_at timestamptz,
    pinned boolean not null,
    constraint session_labels_pkey primary key (tenant_id, session_id),
    constraint session_labels_session_exists foreign key (tenant_id, session_id) references sessions on delete cascade
);

-- Archived sessions are left out of lists unless they are asked for: totals are counted by these indexes alone.
create index session_labels_by_created on session_labels (tenant_id, created_at, session_id) include (archived_at);
create index session_labels_of_user_by_created on session_labels (tenant_id, user_id, created_at, session_id)
    include (archived_at);
create index session_labels_of_component_by_created
    on session_labels (tenant_id, component_id, created_at, session_id);
create index session_labels_of_other_types_by_created
    on session_labels (tenant_id, session_type, created_at, session_id) where session_type <> 'agent';
create index session_labels_archived_by_created on session_labels (tenant_id, created_at, session_id)
    where archived_at is not null;
create index session_labels_pinned_by_created on session_labels (tenant_id, created_at, session_id) where pinned;
create index session_labels_by_name on session_labels (tenant_id, name, session_id);
create index session_labels_of_user_by_name on session_labels (tenant_id, user_id, name, session_id);
create index session_labels_name_parts on session_labels using gin (name gin_trgm_ops);
create index session_labels_metadata on session_labels using gin (metadata jsonb_path_ops);

create function label_session() returns trigger language plpgsql set search_path from current as $$
begin
    insert into session_labels (
        tenant_id, session_id, session_type, component_id, user_id, name, metadata, created_at, archived_at, pinned
    )
    values (
        new.tenant_id, new.session_id, new.session_type, new.component_id, new.user_id, coalesce(new.session_name, ''),
        new.metadata, new.created_at, new.archived_at, new.pinned
    )
    on conflict (tenant_id, session_id) do update set
        component_id = excluded.component_id,
        user_id = excluded.user_id,
        name = excluded.name,
        metadata = excluded.metadata,
        created_at = excluded.created_at,
        archived_at = excluded.archived_at,
        pinned = excluded.pinned;
    return null;
end
$$;

create trigger sessions_are_labelled
    after insert on sessions
    for each row execute function label_session();

create trigger sessions_are_relabelled
    after update of component_id, user_id, session_name, metadata, created_at, archived_at, pinned on sessions
    for each row
    when (
        (old.component_id, old.user_id, old.session_name, old.metadata, old.created_at, old.archived_at, old.pinned)
        is distinct from
        (new.component_id, new.user_id, new.session_name, new.metadata, new.created_at, new.archived_at, new.pinned)
    )
    execute function label_session();

-- Adds model calls to a session's token usage. `usage` has an entry for each purpose, provider and model, named by the
-- three with a line break between them: [input, output, total, reasoning, cache read, cache write]. `numbers` has six
-- numbers for each of `names`.
create function add_usage(usage jsonb, names text[], numbers bigint[]) returns jsonb
    language plpgsql immutable parallel safe set search_path = pg_catalog as $$
declare
    place integer := 0;
    so_far jsonb;
    name text;
begin
    foreach name in array names loop
        so_far := coalesce(usage -> name, '[0, 0, 0, 0, 0, 0]');
        usage := usage || jsonb_build_object(name, jsonb_build_array(
            (so_far -> 0)::bigint + numbers[place + 1],
            (so_far -> 1)::bigint + numbers[place + 2],
            (so_far -> 2)::bigint + numbers[place + 3],
            (so_far -> 3)::bigint + numbers[place + 4],
            (so_far -> 4)::bigint + numbers[place + 5],
            (so_far -> 5)::bigint + numbers[place + 6]
        ));
        place := place + 6;
    end loop;
    return usage;
end
$$;

-- An id as the server makes them (UUIDv7), for rows that are copied inside of PostgreSQL: milliseconds, then chance.
create function mint_id() returns uuid language sql volatile parallel safe
    return (
        select encode(
            substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3 for 6)
                || set_byte(rest, 0, get_byte(rest, 0) & 15 | 112),
            'hex'
        )::uuid
        from (select substring(uuid_send(gen_random_uuid()) from 7) as rest) chance
    );

-- For a statement that has changed a session's row and then finds that it had no right to: all of it is undone, and
-- tried again. The code is that of a serialization failure.
create function overtaken() returns boolean language plpgsql set search_path = pg_catalog as $$
begin
    raise exception 'the row has been changed by others meanwhile' using errcode = '40001';
end
$$;
