-- How many runs and messages a session has, for lists, and how many runs its summary does not cover, by which a fold may
-- be due.

-- No index knows these columns: an update of them stays cheap.
alter table sessions
    add column run_count bigint not null default 0,
    add column message_count bigint not null default 0,
    -- Completed runs after the summary.
    add column unfolded_runs bigint not null default 0;

update sessions s
set run_count = counted.runs, unfolded_runs = counted.unfolded
from (
    select r.session_id, count(*) as runs,
           count(*) filter (where r.status = 'COMPLETED' and r.seq > s.summary_through) as unfolded
    from runs r join sessions s using (session_id)
    group by r.session_id
) counted
where counted.session_id = s.session_id;

update sessions s
set message_count = counted.messages
from (select session_id, count(*) as messages from messages group by session_id) counted
where counted.session_id = s.session_id;

-- For a statement that has changed a session's row and then finds that it had no right to: all of it is undone, and
-- tried again. The code is that of a serialization failure.
create function overtaken() returns boolean language plpgsql as $$
begin
    raise exception 'the row has been changed by others meanwhile' using errcode = '40001';
end
$$;
