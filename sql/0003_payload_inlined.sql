-- What a batch of note_publish notifies is made for every note in it. A function whose body is only
-- stable can't be inlined when it is declared immutable (the manual's page on function volatility),
-- and calling it took a fifth of the whole batch.
alter function note_payload(text, bigint, bigint, bigint, text, text) stable;
