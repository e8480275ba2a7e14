-- Runs whose process does not live are found by looking for them, and background runs that cannot be begun are put back.

-- The runs under way that have no row in the queue: few, whatever the number of runs. Recovery looks for those among them
-- whose process has no row in `processes`. An index of `runs` by their status or process would do the same, but settling
-- changes both: it would have to enter the run anew into every index of `runs`.
--
-- Without a reference to `runs`, which would be checked for every run: recovery removes what is left of deleted runs.
create table open_runs (
    run_id uuid not null,
    constraint open_runs_pkey primary key (run_id)
);

insert into open_runs (run_id)
select run_id from runs r
where status in ('RUNNING', 'PAUSED')
  and not exists (select from run_queue q where q.session_id = r.session_id and q.seq = r.seq);

-- Older processes do not know `open_runs`: they still say which of their runs is the oldest, and read it of others. This
-- one excludes nothing.
alter table processes alter column oldest_run set default '00000000-0000-0000-0000-000000000000';

alter table run_queue
    -- A beginning that failed for a moment is tried again after this, and how often it has failed.
    add column not_before timestamptz,
    add column failures smallint not null default 0,
    -- The processes that cannot execute the run, because they do not know what it asks for; others may take it at once.
    add column declined_by uuid[] not null default '{}',
    -- Since when, and why.
    add column declined_at timestamptz,
    add column declined_because text;
