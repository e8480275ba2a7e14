-- What learning from a turn may cost: its attempts are counted, and after the last one it is set aside until somebody asks
-- for it again. The column `refused` stays for the build before, whose processes may still run; from now on a turn is
-- refused when it has attempts.
alter table memory_turns
    add column attempts smallint not null default 0,
    add column set_aside boolean not null default false;

update memory_turns set attempts = 1 where refused;

-- However many are set aside, looking for those that are not is cheap.
create index memory_turns_to_read on memory_turns (user_id) where not set_aside;
