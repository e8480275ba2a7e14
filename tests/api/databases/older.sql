-- What is left of a Colloquy from before tenants: its first tables with a row in each, and its queue with a job.
create table _sqlx_migrations (
    version bigint primary key,
    description text not null,
    installed_on timestamptz not null default now(),
    success boolean not null,
    checksum bytea not null,
    execution_time bigint not null
);
insert into _sqlx_migrations (version, description, success, checksum, execution_time)
select version, 'older', true, '\x00', 1 from generate_series(1, 23) version;
create table sessions (
    session_id text collate "C" primary key,
    user_id text collate "C",
    created_at timestamptz not null
);
insert into sessions values ('s', 'alice', now());
create table runs (
    session_id text collate "C" not null references sessions on delete cascade,
    seq bigint not null,
    run_id uuid not null,
    status text not null,
    input text not null,
    constraint runs_pkey primary key (session_id, seq)
);
insert into runs values ('s', 1, gen_random_uuid(), 'COMPLETED', 'Hi');
create table messages (
    session_id text collate "C" not null,
    seq bigint not null,
    index integer not null,
    content text,
    constraint messages_pkey primary key (session_id, seq, index)
);
insert into messages values ('s', 1, 0, 'Hi'), ('s', 1, 1, 'Hello');
create table session_usage (session_id text collate "C" primary key, total_tokens bigint not null);
insert into session_usage values ('s', 7);
create schema graphile_worker;
create table graphile_worker._private_jobs (id bigint primary key, payload json);
insert into graphile_worker._private_jobs values (1, '{"kind": "learn", "user_id": "alice"}');
