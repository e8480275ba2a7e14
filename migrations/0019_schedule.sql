-- When a regular job was queued last, by the database's clock. The queue's library keeps such times by the clock of
-- whichever process it was: one that was ahead stopped the job for all until its time had come.
create table schedule (
    job text collate "C" not null,
    queued_at timestamptz not null,
    constraint schedule_pkey primary key (job)
);
