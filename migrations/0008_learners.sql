-- Whether the job that reads a user's turns waits is asked of the queue itself.
drop table memory_learners;
