-- Sessions that people can manage: archive, pins, expiry, where a fork came from; what lists and searches need; the keys
-- of requests that must be carried out once.

create extension if not exists pg_trgm;

alter table sessions
    add column archived_at timestamptz,
    -- Retention and expiry leave it alone.
    add column pinned boolean not null default false,
    add column expires_at timestamptz,
    -- The session that this one was copied from; it may be gone since.
    add column forked_from text collate "C";

create index sessions_of_component_by_created on sessions (component_id, created_at, session_id);
create index sessions_of_component_by_updated on sessions (component_id, updated_at, session_id);

-- The few among the many: rows that are not in these cost nothing when they change.
create index sessions_of_other_types_by_created on sessions (session_type, created_at, session_id)
    where session_type <> 'agent';
create index sessions_of_other_types_by_updated on sessions (session_type, updated_at, session_id)
    where session_type <> 'agent';
create index sessions_archived_by_created on sessions (created_at, session_id) where archived_at is not null;
create index sessions_pinned_by_created on sessions (created_at, session_id) where pinned;
create index sessions_expiring on sessions (expires_at) where expires_at is not null;

-- What a session is found by, beside its times. A session's row changes with every run, and a changed row is entered
-- anew into every index of its table; these values hardly ever change, and their indexes are the costly ones.
create table session_labels (
    session_id text collate "C" not null,
    user_id text collate "C",
    -- Empty where the session has no name.
    name text not null,
    metadata jsonb not null,
    constraint session_labels_pkey primary key (session_id),
    constraint session_labels_session_exists foreign key (session_id) references sessions on delete cascade
);

insert into session_labels (session_id, user_id, name, metadata)
select session_id, user_id, coalesce(session_name, ''), metadata
from sessions;

create index session_labels_by_name on session_labels (name, session_id);
create index session_labels_of_user_by_name on session_labels (user_id, name, session_id);
create index session_labels_name_parts on session_labels using gin (name gin_trgm_ops);
create index session_labels_metadata on session_labels using gin (metadata jsonb_path_ops);

-- `sessions` stays the one place that is written to.
create function label_session() returns trigger language plpgsql as $$
begin
    insert into session_labels (session_id, user_id, name, metadata)
    values (new.session_id, new.user_id, coalesce(new.session_name, ''), new.metadata)
    on conflict (session_id) do update set
        user_id = excluded.user_id,
        name = excluded.name,
        metadata = excluded.metadata;
    return null;
end
$$;

create trigger sessions_are_labelled
    after insert on sessions
    for each row execute function label_session();

create trigger sessions_are_relabelled
    after update of session_name, metadata on sessions
    for each row
    when (old.session_name is distinct from new.session_name or old.metadata is distinct from new.metadata)
    execute function label_session();

-- An id as the server makes them (UUIDv7), for rows that are copied inside of PostgreSQL: milliseconds, then chance.
create function mint_id() returns uuid language sql volatile parallel safe as $$
    select encode(
        substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3 for 6)
            || set_byte(rest, 0, get_byte(rest, 0) & 15 | 112),
        'hex'
    )::uuid
    from (select substring(uuid_send(gen_random_uuid()) from 7) as rest) chance
$$;

-- Requests with an Idempotency-Key, for a day.
create table idempotency_keys (
    -- What was asked for: the method and the path.
    scope text collate "C" not null,
    key text collate "C" not null,
    -- SHA-256 of the rest of the request.
    fingerprint bytea not null,
    -- The run that the request began; it is found again by these.
    session_id text collate "C",
    run_seq bigint,
    -- The answer. Null: there is none yet.
    status smallint,
    body text,
    etag text,
    created_at timestamptz not null,
    constraint idempotency_keys_pkey primary key (scope, key)
);

create index idempotency_keys_by_created on idempotency_keys (created_at);
