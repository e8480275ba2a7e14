-- Open runs whose process is dead, and those of the process $1, which knows better whether it executes them.
--
-- A process is alive as long as it has a row. `open_runs` has few rows, however many runs there are.
select q.tenant_id, q.session_id, q.seq, q.run_id as "run_id: RunId", q.process_id as "process: ProcessId",
       coalesce(q.process_id, q.waiter_id) as "holder!: ProcessId",
       q.background and q.attempts < q.max_attempts as "may_go_on!", q.attempts,
       q.cancel_requested_at is not null as "is_cancelled!",
       requested_webhook(q.request) as webhook_url
from open_runs q
where coalesce(q.process_id, q.waiter_id) is not null
  and not exists (
      select from processes p where p.process_id = coalesce(q.process_id, q.waiter_id) and p.process_id <> $1
  )
