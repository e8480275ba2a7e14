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
where schemaname = 'public' and tablename in ('sessions', 'session_labels', 'runs', 'messages') and indexname !~ '_pkey$';
select format('drop index %I', indexname) from pg_indexes
where schemaname = 'public' and tablename in ('sessions', 'session_labels', 'runs', 'messages') and indexname !~ '_pkey$'
\gexec

insert into sessions (
    session_id, session_type, component_id, user_id, session_name, named_by, session_state, metadata, last_seq,
    created_at, updated_at, archived_at, pinned
)
select
    'session-' || n,
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
    5,
    timestamptz '2026-01-01' + n * (interval '300 days' / :sessions),
    timestamptz '2026-01-01' + n * (interval '300 days' / :sessions) + interval '1 hour' * (n % 100),
    case when n % 47 = 0 then now() end,
    n % 5000 = 0
from generate_series(1, :sessions) n;

insert into session_labels (session_id, user_id, name, metadata)
select session_id, user_id, session_name, metadata from sessions;

insert into session_usage
select session_id, 'run', 'openai', 'gpt-4o-mini', 500, 100, 600, 0, 0, 0 from sessions;

insert into runs (
    session_id, seq, run_id, component_id, user_id, status, input, content, model, model_provider, created_at, finished_at
)
select
    session_id, seq, mint_id(), component_id, user_id, 'COMPLETED', 'Tell me more', 'With pleasure', 'gpt-4o-mini',
    'openai', created_at + interval '1 minute' * seq, created_at + interval '1 minute' * seq
from sessions, generate_series(1, 5) seq;

-- The user's and the assistant's message of each run.
insert into messages (session_id, seq, index, message_id, role, content, words, created_at, session_created_at)
select session_id, seq, index, mint_id(), (case index when 0 then 'user' else 'assistant' end)::message_role, text,
       search_words('simple', text), r.created_at, s.created_at
from sessions s join runs r using (session_id), generate_series(0, 1) index, lateral (
    select case when (hashtext(r.session_id) + seq + index) % 10 = 0 then 'everyday ' else '' end
        || 'let us talk about w' || abs(hashtext(r.session_id || seq || index)) % 20000
        || ' and w' || abs(hashtext(index || r.session_id || seq)) % 2000
        || case when index = 1 then ', which is a thing that one may say a lot about' else '' end as text
) said;

select indexdef from dropped
\gexec
vacuum (analyze) sessions;
vacuum (analyze) session_labels;
vacuum (analyze) session_usage;
vacuum (analyze) runs;
vacuum (analyze) messages;

-- As after hours of serving: nothing is left to write, and what is looked up is in memory, the indexes before all.
checkpoint;
create extension pg_prewarm;
select sum(pg_prewarm(oid)) from (
    select oid from pg_class
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'i')
    order by relkind = 'i', relpages desc
) relations;
