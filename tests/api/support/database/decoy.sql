-- The decoy: a second tenant that has the ids of the first one, of sessions, users, runs and memories alike, with other
-- contents. Whatever the default tenant stores is stored for the decoy as well, so that every test runs beside it: a
-- statement that forgets the tenant finds too much, or fails because it touches what is the decoy's.
create schema decoy;

-- What the decoy has in place of the original's. Words and vectors are the same: a search that leaks must find them.
create table decoy.others (table_name text, column_name text, value text);
insert into decoy.others values
    ('sessions', 'session_name', $$'decoy ' || session_name$$),
    ('sessions', 'session_state', $$'{"decoy": true}'$$),
    ('sessions', 'metadata', $$metadata || '{"decoy": true}'$$),
    ('sessions', 'usage', $$jsonb_build_object(E'run\ndecoy\ndecoy', '[1000, 1000, 2000, 0, 0, 0]'::jsonb)$$),
    ('sessions', 'version', $$version + 1000$$),
    -- No work for anybody: it is never removed, and has no runs under way.
    ('sessions', 'pinned', $$true$$),
    ('sessions', 'expires_at', $$null$$),
    ('sessions', 'active_seq', $$null$$),
    ('sessions', 'waiting', $$'{}'$$),
    ('sessions', 'fold_queued_by', $$null$$),
    ('runs', 'input', $$'decoy ' || input$$),
    ('runs', 'metadata', $$metadata || '{"decoy": true}'$$),
    ('outcomes', 'content', $$'decoy ' || content$$),
    ('outcomes', 'model', $$'decoy'$$),
    ('outcomes', 'session_state', $$'{"decoy": true}'$$),
    ('outcomes', 'webhook_url', $$case when webhook_url is not null then 'http://decoy.invalid/' end$$),
    ('run_steps', 'content', $$'decoy ' || content$$),
    ('run_events', 'data', $$array_fill('{"decoy": true}'::text, array[cardinality(data)])$$),
    -- It never expires.
    ('run_events', 'created_at', $$'infinity'$$),
    ('summaries', 'summary', $$'decoy ' || summary$$),
    ('summaries', 'about_user', $$'decoy'$$),
    ('summaries', 'topics', $$topics || array['decoy']$$),
    ('memories', 'memory', $$'decoy ' || memory$$),
    ('memories', 'expires_at', $$null$$),
    ('memories', 'superseded_by', $$null$$),
    -- The same fact may be told again when the default tenant has deleted it; the decoy has deleted nothing.
    ('memories', 'hash', $$case when exists (
        select from public.memories told
        where told.tenant_id = 'decoy' and told.user_id = memories.user_id and told.hash = memories.hash
          and told.memory_id <> memories.memory_id and told.valid_to is null
    ) then sha256(memory_id::text::bytea) else hash end$$),
    -- Where vectors are used, a memory that holds would be embedded: calls of the model that no test expects.
    ('memories', 'valid_to', $$case when (select model from public.embedding_state) is null then valid_to else now() end$$),
    ('memory_events', 'memory', $$'decoy ' || memory$$),
    ('idempotency_keys', 'fingerprint', $$'\x00'$$),
    ('idempotency_keys', 'body', $$'{"decoy": true}'$$),
    ('idempotency_keys', 'created_at', $$'infinity'$$);

-- What is stored for the decoy, and what has to be there before. Left out is what is work: open_runs would be executed,
-- memory_turns learned from, unembedded_sessions embedded. The trigger of sessions writes session_labels.
create table decoy.mirrored (table_name text, place integer, parent text, key text);
insert into decoy.mirrored values
    ('sessions', 1, 'sessions', 'tenant_id, session_id'),
    ('runs', 1, 'sessions', 'tenant_id, session_id'), ('runs', 2, 'runs', 'tenant_id, session_id, seq'),
    ('outcomes', 1, 'sessions', 'tenant_id, session_id'), ('outcomes', 2, 'runs', 'tenant_id, session_id, seq'),
    ('outcomes', 3, 'outcomes', 'tenant_id, session_id, seq'),
    ('run_steps', 1, 'sessions', 'tenant_id, session_id'), ('run_steps', 2, 'runs', 'tenant_id, session_id, seq'),
    ('run_steps', 3, 'run_steps', 'tenant_id, session_id, seq, index'),
    ('run_events', 1, 'run_events', 'tenant_id, session_id, seq, first_index'),
    ('summaries', 1, 'sessions', 'tenant_id, session_id'),
    ('summaries', 2, 'summaries', 'tenant_id, session_id, through_seq'),
    ('memories', 1, 'memories', 'tenant_id, user_id, memory_id'),
    ('memory_sources', 1, 'sessions', 'tenant_id, session_id'),
    ('memory_sources', 2, 'runs', 'tenant_id, session_id, seq'),
    ('memory_sources', 3, 'memories', 'tenant_id, user_id, memory_id'),
    ('memory_sources', 4, 'memory_sources', 'tenant_id, user_id, memory_id, session_id, seq, index'),
    ('memory_events', 1, 'sessions', 'tenant_id, session_id'),
    ('memory_events', 2, 'runs', 'tenant_id, session_id, seq'),
    ('memory_events', 3, 'memories', 'tenant_id, user_id, memory_id'),
    ('memory_events', 4, 'memory_events', 'tenant_id, user_id, memory_id, event_id'),
    ('message_vectors', 1, 'message_vectors', 'tenant_id, session_id, seq, index'),
    ('idempotency_keys', 1, 'idempotency_keys', 'tenant_id, scope, key');

-- `decoy.runs` and so on: the default tenant's rows, as the decoy has them.
do $$
declare
    name text;
    columns text;
begin
    for name in select distinct table_name from decoy.mirrored loop
        select string_agg(
            format(
                '(%s)::%s as %I',
                case when a.attname = 'tenant_id' then '''decoy''' else coalesce(o.value, quote_ident(a.attname)) end,
                format_type(a.atttypid, a.atttypmod), a.attname
            ),
            ', ' order by a.attnum
        ) into strict columns
        from pg_attribute a
        left join decoy.others o on o.table_name = name and o.column_name = a.attname
        where a.attrelid = ('public.' || name)::regclass and a.attnum > 0 and not a.attisdropped;
        execute format('create view decoy.%1$I as select %2$s from public.%1$I where tenant_id = ''default''', name, columns);
    end loop;
end
$$;

-- Statements store rows of several tables in one go, in no certain order, so each trigger stores what its rows refer to.
-- The condition ends the recursion: the decoy's own rows are added by none of the default tenant.
do $$
declare
    name text;
    stored text;
begin
    for name in select distinct table_name from decoy.mirrored loop
        select string_agg(
            format(
                'insert into %1$I select d.* from decoy.%1$I d where (%2$s) in (select %2$s from added where tenant_id = ''default'') on conflict do nothing;',
                parent, substring(key from 'tenant_id, (.*)')
            ),
            E'\n' order by place
        ) into strict stored
        from decoy.mirrored
        where table_name = name;
        execute format(
            $function$
            create function decoy.store_%1$s() returns trigger language plpgsql security definer set search_path = public as $body$
            begin
                if exists (select from added where tenant_id = 'default') then
                    %2$s
                end if;
                return null;
            end
            $body$
            $function$,
            name, stored
        );
        execute format(
            'create trigger decoy_is_stored after insert on %I referencing new table as added for each statement execute function decoy.store_%s()',
            name, name
        );
    end loop;
end
$$;

-- Nobody changes or deletes what is the decoy's, except for what is derived and made anew for all tenants at once.
create function decoy.refuse() returns trigger language plpgsql as $$
declare
    derived constant text[] := array['words', 'tokens', 'embedding', 'embedding_model'];
begin
    if tg_op = 'UPDATE' and to_jsonb(new) - derived = to_jsonb(old) - derived then
        return new;
    end if;
    raise exception 'a statement touched what is another tenant''s: % of %', lower(tg_op), tg_table_name;
end
$$;

do $$
declare
    name text;
begin
    -- The vectors of a model that is no longer used are deleted for all.
    for name in select distinct table_name from decoy.mirrored where table_name <> 'message_vectors'
                union select 'session_labels' loop
        execute format(
            'create trigger decoy_is_left_alone before update or delete on %I for each row when (old.tenant_id = ''decoy'') execute function decoy.refuse()',
            name
        );
    end loop;
end
$$;

-- Nor is there work for its sessions when all are marked.
create function decoy.skip() returns trigger language plpgsql as $$ begin return null; end $$;
create trigger decoy_is_not_embedded before insert on unembedded_sessions
    for each row when (new.tenant_id = 'decoy') execute function decoy.skip();

-- For tests that store so much that storing it twice takes long.
create function decoy.leave() returns void language plpgsql as $$
declare
    name text;
begin
    for name in select distinct table_name from decoy.mirrored loop
        execute format('drop trigger decoy_is_stored on public.%I', name);
    end loop;
end
$$;
