-- Runs whose process does not live are found by looking for them, and background runs that cannot be begun are put back.

-- The runs that some process executes: few, whatever the number of runs. Recovery looks for those among them whose
-- process has no row in `processes`.
create index runs_held on runs (process_id) where process_id is not null and status in ('RUNNING', 'PAUSED');

-- Recovery needs no bound any more. Older processes still read it: this one excludes nothing.
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
