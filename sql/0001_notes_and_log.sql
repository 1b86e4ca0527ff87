-- Notes and their log.
--
-- `note` is the table that people and programs write to. `note_event` is the append-only log of
-- what happened to it: one row per inserted, updated or deleted note, numbered by `seq` in commit
-- order. `seq` is the only cursor there is: whoever has seen everything up to a seq asks for what
-- comes after it.
--
-- It also runs on a database that already has a `note` table with only the first five columns and
-- a notify-on-insert trigger: rows are kept, and enter the log in the order of their rowid.

create table if not exists note (
    rowid serial not null primary key,
    created_timestamp timestamptz not null default now(),
    updated_timestamp timestamptz not null default now(),
    username varchar(140) not null,
    body varchar(140) not null
);
alter table note add column if not exists topic varchar(140) not null default 'lobby';
alter table note add column if not exists author varchar(140);
alter table note add column if not exists key varchar(140);

-- A publisher's key is unique per author for as long as the note exists, so a retry is safe for ever.
create unique index if not exists note_key on note (coalesce(author, ''), key) where key is not null;
create index if not exists note_topic on note (topic, rowid);

create table note_event (
    seq bigint not null primary key,
    op text not null,
    rowid bigint,
    topic varchar(140),
    at timestamptz not null default clock_timestamp()
);
create index note_event_rowid on note_event (rowid, seq);
create index note_event_topic on note_event (topic, seq);

-- The floor is the highest seq that was ever trimmed from the log; a cursor below it cannot be resumed.
create table note_log (floor bigint not null);
insert into note_log values (0);

create sequence note_seq as bigint minvalue 0 start 0;

lock table note in share row exclusive mode;
insert into note_event (seq, op, rowid, topic)
    select (extract(epoch from clock_timestamp()) * 1e6)::bigint + row_number() over (order by rowid),
           'insert', rowid, topic
    from note;
select setval('note_seq', max(seq)) from note_event having count(*) > 0;

-- What is notified: the row's own columns, and seq, prev and op. A payload holds less than 8000
-- bytes (the manual's page on NOTIFY): a larger row is announced without its columns.
create function note_payload(op text, seq bigint, prev bigint, id bigint, topic text, row_json text) returns text
language sql immutable as $$
    select left(
        case when octet_length(row_json) <= 7800 then row_json
             else json_build_object('rowid', id, 'topic', topic)::text end, -1)
        || ',"seq":' || seq || ',"prev":' || prev || ',"op":"' || op || '"}'
$$;

-- Draws the next seq, writes the log row and notifies. Its callers run at commit time.
--
-- The advisory lock is held until the commit is visible, so seq order is commit order and whoever
-- can see a seq can see all lower ones. The sequence is read, not drawn from, because a sequence
-- shows the newest value whatever the snapshot of the transaction; the clock is its floor, so that
-- no seq is used twice after a crash that lost commits or a restored backup.
create function note_emit(op text, id bigint, topic text, row_json text) returns void
language plpgsql as $$
declare
    prev bigint;
    seq bigint;
begin
    perform pg_advisory_xact_lock(7274916302);
    prev := coalesce(pg_sequence_last_value('note_seq'), 0);
    seq := setval('note_seq', greatest(prev + 1, (extract(epoch from clock_timestamp()) * 1000000)::bigint));
    insert into note_event (seq, op, rowid, topic) values (seq, op, id, topic);
    perform pg_notify('channel_note', note_payload(op, seq, prev, id, topic, row_json));
end
$$;

-- A change of topic or rowid is a delete where the note was and an insert where it is now.
create function note_log_row() returns trigger
language plpgsql security definer set search_path = public, pg_temp set timezone = 'UTC' as $$
begin
    if tg_op = 'INSERT' then
        perform note_emit('insert', new.rowid, new.topic, row_to_json(new)::text);
    elsif tg_op = 'DELETE' then
        perform note_emit('delete', old.rowid, old.topic, null);
    elsif (old.rowid, old.topic) is distinct from (new.rowid, new.topic) then
        perform note_emit('delete', old.rowid, old.topic, null);
        perform note_emit('insert', new.rowid, new.topic, row_to_json(new)::text);
    else
        perform note_emit('update', new.rowid, new.topic, row_to_json(new)::text);
    end if;
    return null;
end
$$;

create function note_log_truncate() returns trigger
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform note_emit('truncate', null, null, null);
    return null;
end
$$;

create function note_touch() returns trigger
language plpgsql as $$
begin
    new.updated_timestamp := now();
    return new;
end
$$;

revoke execute on function note_emit from public;

-- The trigger of the table's first version announced rows without a seq.
drop trigger if exists notify_on_message_insert on note;

-- Deferred: the lock is taken while committing, so an open transaction that has
-- written a note keeps nobody waiting. Batches of note_publish write their log themselves,
-- but not for what the owner's own triggers add to or change in them.
create constraint trigger note_log_row after insert or update or delete on note
    deferrable initially deferred for each row
    when (current_setting('notes_hub.batch', true) is distinct from 'on' or pg_trigger_depth() > 0)
    execute function note_log_row();
create trigger note_log_truncate after truncate on note
    for each statement execute function note_log_truncate();
create trigger note_touch before update on note
    for each row execute function note_touch();

-- Inserts a batch of notes, a JSON array of objects with topic, username, body, author and key, and
-- returns where each of them stands, in their order.
--
-- A note whose author and key exist already is not inserted again: the row that has them is
-- returned, with the seq of its last change. To be called as a statement of its own: it
-- locks the log, as note_emit does, until its transaction ends. It costs half of what the
-- row trigger does for as many notes.
create function note_publish(drafts json) returns table (rowid bigint, seq bigint)
language plpgsql security definer
set search_path = public, pg_temp set timezone = 'UTC' set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    sequence regclass := pg_get_serial_sequence('note', 'rowid');
    ids bigint[] := array(select nextval(sequence) from generate_series(1, json_array_length(drafts)));
    new_ids bigint[];
    new_topics text[];
    new_rows text[];
    prev bigint;
    base bigint;
begin
    perform set_config('notes_hub.batch', 'on', true);
    with inserted as (
        insert into note (rowid, topic, username, body, author, key)
            select ids[n], topic, username, body, author, key
            from rows from (json_to_recordset(drafts) as (topic text, username text, body text, author text, key text))
                with ordinality as draft(topic, username, body, author, key, n)
            on conflict (coalesce(author, ''), key) where key is not null do nothing
            returning rowid, topic, row_to_json(note)::text as row_json
    )
    select array_agg(rowid), array_agg(topic), array_agg(row_json) into new_ids, new_topics, new_rows
    from (select * from inserted order by rowid) as ordered;
    perform set_config('notes_hub.batch', '', true);
    -- Not before: an insert may wait for a transaction that has the same key, and that one for the lock.
    perform pg_advisory_xact_lock(7274916302);
    prev := coalesce(pg_sequence_last_value('note_seq'), 0);
    base := greatest(prev, (extract(epoch from clock_timestamp()) * 1000000)::bigint);
    if new_ids is not null then
        perform setval('note_seq', base + cardinality(new_ids));
        insert into note_event (seq, op, rowid, topic)
            select base + n, 'insert', id, topic from unnest(new_ids, new_topics) with ordinality as placed(id, topic, n);
        perform pg_notify('channel_note', note_payload(
                'insert', base + n, case when n = 1 then prev else base + n - 1 end, id, topic, row_json))
            from unnest(new_ids, new_topics, new_rows) with ordinality as placed(id, topic, row_json, n);
    end if;
    if new_ids = ids then
        return query select id, base + n from unnest(new_ids) with ordinality as placed(id, n) order by n;
    else
        return query
            select found.rowid, found.seq
            from rows from (json_to_recordset(drafts) as (author text, key text))
                with ordinality as draft(author, key, n)
            left join lateral (
                select note.rowid::bigint,
                       coalesce((select max(seq) from note_event where note_event.rowid = note.rowid),
                                (select floor from note_log)) as seq
                from note
                where note.rowid = ids[draft.n]
                   or note.key = draft.key and coalesce(note.author, '') = coalesce(draft.author, '')
            ) found on true
            order by draft.n;
    end if;
end
$$;
revoke execute on function note_publish from public;
