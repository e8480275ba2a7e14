-- Fills an empty database with :sessions sessions of :sessions / 50 users, 200 agents and 5 runs each, and their messages.
--
-- Users are uneven, as they are: one in ten sessions is one of the first ten users'. Words are drawn so that some are
-- in every tenth message and some in a handful. Indexes are made afterwards, as PostgreSQL's handbook has it; the
-- triggers' work is done at once.
\set ON_ERROR_STOP on
set synchronous_commit = off;
set work_mem = '256MB';
set maintenance_work_mem = '512MB';
set session_replication_role = replica;

create temporary table dropped as
select indexdef from pg_indexes
where schemaname = 'public' and tablename in ('sessions', 'session_labels', 'runs', 'outcomes') and indexname !~ '_pkey$';
select format('drop index %I', indexname) from pg_indexes
where schemaname = 'public' and tablename in ('sessions', 'session_labels', 'runs', 'outcomes') and indexname !~ '_pkey$'
\gexec

insert into sessions (
    tenant_id, session_id, session_type, component_id, user_id, session_name, named_by, session_state, metadata, last_seq,
    run_count, message_count, usage, created_at, updated_at, archived_at, pinned
)
select
    'default', 'session-' || n,
    (case when n % 1000 = 0 then 'workflow' when n % 100 = 0 then 'team' else 'agent' end)::session_type,
    'agent-' || n % 200,
    'user-' || case when n % 10 = 0 then n / 10 % 10 else n % greatest(:sessions / 50, 1) end,
    case n % 4 when 0 then 'Order ' when 1 then 'Question about ' when 2 then 'Holidays in ' else 'Plan for ' end
        || substring(md5(n::text) for 8),
    'message',
    jsonb_build_object('step', n % 7),
    case when n % 3 = 0
         then jsonb_build_object('ticket', n, 'plan', case when n % 2 = 0 then 'pro' else 'free' end, 'region', n / 3 % 33)
         else '{}' end,
    5, 5, 10, jsonb_build_object(E'run\nopenai\ngpt-4o-mini', '[500, 100, 600, 0, 0, 0]'::jsonb),
    timestamptz '2026-01-01' + n * (interval '300 days' / :sessions),
    timestamptz '2026-01-01' + n * (interval '300 days' / :sessions) + interval '1 hour' * (n % 100),
    case when n % 47 = 0 then now() end,
    n % 5000 = 0
from generate_series(1, :sessions) n;

insert into session_labels
select tenant_id, session_id, session_type, component_id, user_id, session_name, metadata, created_at, archived_at, pinned
from sessions;

create function said(session_id text, seq bigint, index integer) returns text language sql
    return case when (hashtext(session_id) + seq + index) % 10 = 0 then 'everyday ' else '' end
        || 'let us talk about w' || abs(hashtext(session_id || seq || index)) % 20000
        || ' and w' || abs(hashtext(index || session_id || seq)) % 2000
        || case when index = 1 then ', which is a thing that one may say a lot about' else '' end;

insert into runs (
    tenant_id, session_id, seq, run_id, component_id, user_id, is_shared, input, message_id, words, created_at,
    session_created_at
)
select
    tenant_id, session_id, seq, mint_id(), component_id, user_id, false, text, mint_id(), search_words('simple', text),
    created_at + interval '1 minute' * seq, created_at
from sessions, generate_series(1, 5) seq, said(session_id, seq, 0) text;

insert into outcomes (
    tenant_id, session_id, seq, status, content, model, model_provider, finished_at, answer_index, answer_id, answered_at,
    words, session_created_at
)
select
    tenant_id, session_id, seq, 'COMPLETED', text, 'gpt-4o-mini', 'openai', created_at, 1, mint_id(), created_at,
    search_words('simple', text), session_created_at
from runs, said(session_id, seq, 1) text;

drop function said;

select indexdef from dropped
\gexec
vacuum (analyze) sessions;
vacuum (analyze) session_labels;
vacuum (analyze) runs;
vacuum (analyze) outcomes;

-- As after hours of serving: nothing is left to write, and what is looked up is in memory, the indexes before all.
checkpoint;
create extension pg_prewarm;
select sum(pg_prewarm(oid)) from (
    select oid from pg_class
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'i')
    order by relkind = 'i', relpages desc
) relations;
