-- What a summary says of the user, with which it begins: the next version is not to lose it. Empty: nothing, or it is not
-- known which part of the summary that is.
alter table summaries add column about_user text not null default '';
