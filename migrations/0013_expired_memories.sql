-- The clock erases what has expired.
create index memories_by_expiry on memories (expires_at) where expires_at is not null;
