-- Whether the job that reads a user's turns waits is asked of the queue itself.
drop table memory_learners;

-- What a user has said in sessions of nobody is erased with them.
create index runs_of_user on runs (user_id) where user_id is not null;
