-- A share for every user: who has thousands of background runs waiting does not hold up everybody else's.

alter table run_queue
    -- Whose share the run takes: the id of the user who asked for it; empty for runs of nobody, which share one.
    add column share text collate "C" not null default '',
    -- False while the run waits behind another one of its session. Only a hint that keeps such rows out of the way of
    -- whoever takes runs: the session's row decides. A build that does not know the column leaves it true.
    add column ready boolean not null default true;

update run_queue q
set share = coalesce(r.user_id, ''), ready = s.active_seq is not distinct from q.seq
from runs r join sessions s using (session_id)
where r.session_id = q.session_id and r.seq = q.seq;

create index run_queue_by_share on run_queue (ready, share, run_id) where background and process_id is null;

-- Whoever hands a session on, in whatever way, makes the next run ready.
create function ready_next_run() returns trigger language plpgsql as $$
begin
    update run_queue set ready = true where session_id = new.session_id and seq = new.active_seq and not ready;
    return null;
end
$$;

create trigger sessions_ready_the_next_run
    after update of active_seq on sessions
    for each row
    when (old.active_seq is not null and new.active_seq <> old.active_seq)
    execute function ready_next_run();
