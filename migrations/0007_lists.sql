-- A search of many sessions shows those that began last first: which these are, the messages that it finds can tell, and
-- only the sessions that are shown are looked up.

alter table messages
    -- When the session began, which never changes.
    add column session_created_at timestamptz;

update messages m
set session_created_at = s.created_at
from sessions s
where s.session_id = m.session_id;

alter table messages alter column session_created_at set not null;

-- What is archived is left out of lists unless it is asked for: their totals are counted by these indexes alone.
drop index sessions_by_created;
create index sessions_by_created on sessions (created_at, session_id) include (archived_at);
drop index sessions_of_user_by_created;
create index sessions_of_user_by_created on sessions (user_id, created_at, session_id) include (archived_at);
