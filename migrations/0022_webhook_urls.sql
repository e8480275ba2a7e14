-- Where the end of a run is told stands in the run's row and no longer in the job: the queue's library logs what a job
-- says, and such a URL is often a secret. It is removed when the end has been told.

alter table runs add column webhook_url text;

-- The queue's tables are made after this file in a new database.
do $$
begin
    if to_regclass('graphile_worker._private_jobs') is not null then
        update runs r
        set webhook_url = j.payload ->> 'url'
        from graphile_worker._private_jobs j
        where j.payload ->> 'kind' = 'deliver_webhook' and r.run_id = (j.payload ->> 'run_id')::uuid;
        update graphile_worker._private_jobs
        set payload = (payload::jsonb - 'url')::json
        where payload ->> 'kind' = 'deliver_webhook';
    end if;
end
$$;
