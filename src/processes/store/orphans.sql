-- Open runs whose process does not live, and those of the process $1, which knows better whether it executes them.
--
-- A process lives as long as it has a row. Every open run is in `open_runs` or in the queue: never are all runs read. Runs
-- are looked up one by one, however many the planner expects, because they are few.
with held as (
    select r.session_id, r.seq, r.process_id as holder
    from open_runs o
    cross join lateral (select session_id, seq, process_id from runs where runs.run_id = o.run_id offset 0) r
    where r.process_id is not null
      and not exists (select from processes p where p.process_id = r.process_id and p.process_id <> $1)
    union
    select q.session_id, q.seq, q.process_id
    from run_queue q
    where q.process_id is not null
      and not exists (select from processes p where p.process_id = q.process_id and p.process_id <> $1)
)
select held.session_id as "session_id!", held.seq as "seq!", r.run_id as "run_id!: RunId",
       r.process_id as "process: ProcessId", held.holder as "holder!: ProcessId",
       coalesce(q.background and q.attempts < q.max_attempts, false) as "may_go_on!",
       coalesce(q.attempts, 1::smallint) as "attempts!", r.cancel_requested_at is not null as "is_cancelled!",
       coalesce(
           jsonb_path_query_first(q.request, '$.delivery.webhook_url ? (@.type() == "string")'),
           jsonb_path_query_first(q.request, '$.run.webhook_url ? (@.type() == "string")')
       ) #>> '{}' as webhook_url
from held
cross join lateral (
    select run_id, process_id, cancel_requested_at
    from runs
    where runs.session_id = held.session_id and runs.seq = held.seq and status in ('PENDING', 'RUNNING', 'PAUSED')
    offset 0
) r
left join run_queue q on q.session_id = held.session_id and q.seq = held.seq
