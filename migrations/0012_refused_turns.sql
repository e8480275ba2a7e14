-- A turn to which no model has given an answer that could be used: it is read last and alone, so that it keeps nothing back.
alter table memory_turns add column refused boolean not null default false;
