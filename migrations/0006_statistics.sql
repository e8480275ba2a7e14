-- What the planner is to think of the tables.

-- A statement that runs often is planned once for all tenants, and that plan must suit the largest one. PostgreSQL would
-- plan for a tenant of average size: where there are many small tenants and a large one, it would read all rows of the
-- large one rather than look up a few by their keys. So it is told to plan as if there were one tenant. The rest of a
-- key singles out few rows anyway.
do $$
declare
    one record;
begin
    for one in
        select c.relname
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = c.oid
        where n.nspname = current_schema() and c.relkind = 'r' and a.attname = 'tenant_id'
    loop
        execute format('alter table %I alter column tenant_id set (n_distinct = 1)', one.relname);
    end loop;
end
$$;

-- Statistics for tables that are still empty.
--
-- Without any, PostgreSQL takes `tenant_id = $1` for as selective as a whole primary key, and may look rows up by any
-- index that begins with `tenant_id`, which is by reading all rows of the tenant. A plan that is cached while the tables
-- are empty is kept until they are analyzed, a minute or more later, and gets slower with each run meanwhile. So each
-- table gets the statistics of a few rows of one tenant. `truncate` removes the rows, keeps the statistics, and makes
-- the planner guess the number of rows again.

insert into sessions (tenant_id, session_id, session_type, component_id, user_id, created_at, updated_at)
select 'default', 's' || n, 'agent', 'a', 'u' || n % 100, now() - n * interval '1 s', now() - n * interval '1 s'
from generate_series(1, 300) n;

insert into runs (
    tenant_id, session_id, seq, run_id, component_id, user_id, is_shared, input, message_id, created_at,
    session_created_at
)
select 'default', 's' || n, 1, gen_random_uuid(), 'a', 'u' || n % 100, false, 'text', gen_random_uuid(), now(), now()
from generate_series(1, 300) n;

insert into outcomes (tenant_id, session_id, seq, status, content, finished_at, answer_index, session_created_at)
select 'default', 's' || n, 1, 'COMPLETED', 'text', now(), 1, now() from generate_series(1, 300) n;

insert into run_steps (tenant_id, session_id, seq, index, message_id, role, created_at, session_created_at)
select 'default', 's' || n, 1, 1, gen_random_uuid(), 'tool', now(), now() from generate_series(1, 300) n;

insert into open_runs (tenant_id, session_id, seq, run_id, status, background)
select 'default', 's' || n, 1, gen_random_uuid(), 'RUNNING', n % 10 = 0 from generate_series(1, 300) n;

insert into run_events (tenant_id, session_id, seq, first_index, names, data, created_at)
select 'default', 's' || n, 1, 0, '{}', '{}', now() - n * interval '1 s' from generate_series(1, 300) n;

insert into idempotency_keys (tenant_id, scope, key, fingerprint, created_at)
select 'default', 'POST /', 'k' || n, '', now() - n * interval '1 s' from generate_series(1, 300) n;

insert into summaries (
    tenant_id, session_id, through_seq, summary, topics, tokens, folded_runs, folded_tokens, model, model_provider,
    created_at
)
select 'default', 's' || n, 1, 'text', '{}', 1, 1, 1, 'm', 'p', now() from generate_series(1, 300) n;

insert into memories (
    tenant_id, user_id, memory_id, memory, hash, is_own, created_at, updated_at, valid_from, words
)
select 'default', 'u' || n, gen_random_uuid(), 'text', '', true, now(), now() - n * interval '1 s', now(), ''
from generate_series(1, 300) n;

insert into memory_sources (tenant_id, user_id, memory_id, session_id, seq, index)
select 'default', user_id, memory_id, 's1', 1, 0 from memories where tenant_id = 'default';

insert into memory_events (tenant_id, user_id, memory_id, event_id, action, memory, topics, session_id, seq, created_at)
select 'default', user_id, memory_id, gen_random_uuid(), 'add', 'text', '{}', 's1', 1, now()
from memories where tenant_id = 'default';

insert into memory_turns (tenant_id, user_id, session_id, seq, agent_id)
select 'default', 'u' || n % 100, 's' || n, 1, 'a' from generate_series(1, 300) n;

insert into message_vectors (tenant_id, session_id, seq, index, embedding, embedding_model, said_at)
select 'default', 's' || n, 1, 0, '', 'm', now() from generate_series(1, 300) n;

insert into unembedded_sessions (tenant_id, session_id, noted_at)
select 'default', 's' || n, now() - n * interval '1 s' from generate_series(1, 300) n;

analyze sessions, session_labels, runs, outcomes, run_steps, open_runs, run_events, idempotency_keys, summaries, memories,
    memory_sources, memory_events, memory_turns, message_vectors, unembedded_sessions;

truncate sessions, session_labels, runs, outcomes, run_steps, open_runs, run_events, idempotency_keys, summaries, memories,
    memory_sources, memory_events, memory_turns, message_vectors, unembedded_sessions;
