-- What the tests' own statements see: the tables without the decoy's rows (decoy.sql). Inserts are the default tenant's,
-- and need not name what does not matter to most tests. The servers under test never have this schema in their path.
create schema seen;

do $$
declare
    name text;
begin
    for name in select table_name from information_schema.columns where table_schema = 'public' and column_name = 'tenant_id' loop
        execute format('create view seen.%1$I as select * from public.%1$I where tenant_id = ''default''', name);
        -- The views `messages` and `run_records` are only read.
        if (select is_insertable_into = 'YES' from information_schema.tables where table_schema = 'seen' and table_name = name) then
            execute format('alter view seen.%I alter column tenant_id set default ''default''', name);
        end if;
    end loop;
end
$$;

alter view seen.sessions
    alter column session_type set default 'agent',
    alter column created_at set default now(),
    alter column updated_at set default now();

-- A run of a session without a user, as it is accepted.
alter view seen.runs
    alter column run_id set default mint_id(),
    alter column component_id set default 'assistant',
    alter column is_shared set default true,
    alter column input set default 'Hi',
    alter column message_id set default mint_id(),
    alter column created_at set default now(),
    alter column session_created_at set default now();

-- A run that has answered.
alter view seen.outcomes
    alter column status set default 'COMPLETED',
    alter column content set default 'Hello!',
    alter column finished_at set default now(),
    alter column answer_index set default 1,
    alter column answer_id set default mint_id(),
    alter column answered_at set default now(),
    alter column session_created_at set default now();

alter view seen.run_steps
    alter column message_id set default mint_id(),
    alter column created_at set default now(),
    alter column session_created_at set default now();
