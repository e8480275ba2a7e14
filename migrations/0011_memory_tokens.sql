-- What a memory takes in a prompt: to count it for each prompt anew takes longer than to find it. Null: it was not counted.
alter table memories add column tokens integer;
