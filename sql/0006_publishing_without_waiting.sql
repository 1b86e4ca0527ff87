-- Publishing that waits for nobody's transaction but those that commit, and a clock that is believed within bounds.

-- The seq after which the next ones follow `prev`, the newest: the clock, in microseconds since 1970, where it is ahead.
--
-- One commit with a wrong clock would be the floor for ever, and above 2^53 no cursor can be resumed. So the clock
-- counts only before the year 2100, and only up to ten years after the newest event; a newest event from before 2020
-- (an empty log, or a server that began without a clock) sets no bound. Beyond that the numbers go on one by one.
create function note_base(prev bigint) returns bigint
language plpgsql as $$
declare
    clock bigint := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
begin
    if clock <= prev then
        return prev;
    elsif clock < 4102444800000000 and (clock < prev + 315576000000000 or prev < 1577836800000000) then
        return clock;
    end if;
    if current_setting('notes_hub.clock', true) is distinct from 'doubted' then  -- once in a session
        perform set_config('notes_hub.clock', 'doubted', false);
        raise warning 'the clock is not believed: it says %, and the newest event of the log of notes is from %',
            to_timestamp(clock / 1e6), to_timestamp(prev / 1e6)
            using hint = 'Events are numbered on from the newest one. Set the clock of this server.';
    end if;
    return prev;
end
$$;

create or replace function note_emit(op text, id bigint, topic text, row_json text) returns void
language plpgsql as $$
declare
    prev bigint;
    seq bigint;
begin
    perform pg_advisory_xact_lock(7274916302);
    prev := coalesce(pg_sequence_last_value('note_seq'), 0);
    seq := setval('note_seq', note_base(prev) + 1);
    insert into note_event (seq, op, rowid, topic) values (seq, op, id, topic);
    perform pg_notify('channel_note', note_payload(op, seq, prev, id, topic, row_json));
end
$$;

-- The constraints whose deferred checks a batch of notes may set off, as SET CONSTRAINTS takes them. Those of all
-- tables, since a trigger of note's owner may write to any.
create function note_deferred() returns text
language sql stable as $$
    select string_agg(distinct format('%I.%I', nspname, conname), ', ')
    from pg_constraint join pg_namespace on pg_namespace.oid = connamespace
    where condeferred and has_schema_privilege(pg_namespace.oid, 'usage')
      and not (conrelid = 'public.note'::regclass and conname = 'note_log_row')
$$;

-- A function with other columns is another function: who might execute the one of before may execute this one.
select set_config('notes_hub.publishers', string_agg(
        case grantee when 0 then 'public' else grantee::regrole::text end, ', '), false)
    from pg_proc, aclexplode(proacl)
    where pg_proc.oid = 'note_publish(json)'::regprocedure and grantee <> proowner;
drop function note_publish(json);

-- Inserts a batch of notes, a JSON array of objects with topic, username, body, author and key, and
-- returns where each of them stands, in their order.
--
-- A note whose author and key exist already is not inserted again: the row that has them is
-- returned, with the seq of its last change. A note that Postgres refuses has a `failure` instead: the SQLSTATE, a
-- blank and the message. The others are inserted all the same. A note that would wait for another transaction fails
-- with 55P03. All three are null for a note that a trigger dropped.
--
-- To be called as a statement of its own: it locks the log, as note_emit does, until its transaction ends. Whatever
-- waits for a row or a key, deferred checks too, comes before that, and gets little time: everybody waits for this
-- batch. It costs half of what the row trigger does for as many notes.
create function note_publish(drafts json) returns table (rowid bigint, seq bigint, failure text)
language plpgsql security definer
set search_path = public, pg_temp set timezone = 'UTC' set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    sequence regclass := pg_get_serial_sequence('note', 'rowid');
    ids bigint[] := array(select nextval(sequence) from generate_series(1, json_array_length(drafts)));
    deferred text := case when exists (  -- as a rule there is none, and asking for all costs six times as much
        select from pg_trigger where tgrelid = 'note'::regclass and (tginitdeferred or not tgisinternal)
        and tgname not in ('note_log_row', 'note_log_truncate', 'note_touch')
    ) then note_deferred() end;
    patience text := current_setting('lock_timeout');
    waits int := 0;
    draft record;
    made record;
    new_ids bigint[];
    new_topics text[];
    new_rows text[];
    new_places bigint[];  -- which draft each of them is
    failures text[];
    prev bigint;
    base bigint;
begin
    -- Whoever changes the table itself is waited for by all, in their order.
    lock table note in row exclusive mode;
    begin
        perform set_config('lock_timeout', '100ms', true), set_config('notes_hub.batch', 'on', true);
        with inserted as (
            insert into note (rowid, topic, username, body, author, key)
                select ids[n], topic, username, body, author, key
                from rows from (
                    json_to_recordset(drafts) as (topic text, username text, body text, author text, key text)
                ) with ordinality as draft(topic, username, body, author, key, n)
                on conflict (coalesce(author, ''), key) where key is not null do nothing
                returning rowid, topic, row_to_json(note)::text as row_json
        )
        select array_agg(rowid), array_agg(topic), array_agg(row_json) into new_ids, new_topics, new_rows
        from (select * from inserted order by rowid) as ordered;
        if deferred is not null then
            execute 'set constraints ' || deferred || ' immediate';
        end if;
        if new_ids is distinct from ids then
            new_places := array(
                select place from unnest(new_ids) as made(id) join unnest(ids) with ordinality as drawn(id, place)
                using (id) order by id);
            if cardinality(new_places) < cardinality(new_ids) then
                raise exception 'a trigger has changed a rowid';  -- which draft is which is seen one by one
            end if;
        end if;
    exception when others or assert_failure then
        -- One of them is the cause. Each on its own, so that the others are saved.
        new_ids := '{}'; new_topics := '{}'; new_rows := '{}'; new_places := '{}';
        perform set_config('notes_hub.batch', 'on', true);
        for draft in
            select * from rows from (
                json_to_recordset(drafts) as (topic text, username text, body text, author text, key text)
            ) with ordinality as draft(topic, username, body, author, key, n)
        loop
            begin
                perform set_config('lock_timeout', case when waits < 20 then '10ms' else '1ms' end, true);
                insert into note (rowid, topic, username, body, author, key)
                    values (ids[draft.n], draft.topic, draft.username, draft.body, draft.author, draft.key)
                    on conflict (coalesce(author, ''), key) where key is not null do nothing
                    returning rowid, topic, row_to_json(note)::text as row_json into made;
                if deferred is not null then
                    execute 'set constraints ' || deferred || ' immediate';
                end if;
                if made.rowid is not null then
                    new_ids := new_ids || made.rowid::bigint;
                    new_topics := new_topics || made.topic::text;
                    new_rows := new_rows || made.row_json;
                    new_places := new_places || draft.n;
                end if;
            exception when others or assert_failure then
                waits := waits + (sqlstate = '55P03')::int;
                failures[draft.n] := sqlstate || ' ' || sqlerrm;
            end;
        end loop;
        new_ids := nullif(new_ids, '{}');
    end;
    perform set_config('lock_timeout', patience, true), set_config('notes_hub.batch', '', true);
    if new_ids is not null then
        perform pg_advisory_xact_lock(7274916302);
        prev := coalesce(pg_sequence_last_value('note_seq'), 0);
        base := note_base(prev);
        perform setval('note_seq', base + cardinality(new_ids));
        insert into note_event (seq, op, rowid, topic)
            select base + n, 'insert', id, topic from unnest(new_ids, new_topics) with ordinality as placed(id, topic, n);
        perform pg_notify('channel_note', note_payload(
                'insert', base + n, case when n = 1 then prev else base + n - 1 end, id, topic, row_json))
            from unnest(new_ids, new_topics, new_rows) with ordinality as placed(id, topic, row_json, n);
    end if;
    if new_ids = ids then
        return query select id, base + n, null::text from unnest(new_ids) with ordinality as placed(id, n) order by n;
    else
        return query
            select coalesce(placed.id, found.rowid), coalesce(base + placed.n, found.seq), failures[draft.n]
            from rows from (json_to_recordset(drafts) as (author text, key text))
                with ordinality as draft(author, key, n)
            left join unnest(new_ids, new_places) with ordinality as placed(id, place, n) on placed.place = draft.n
            left join lateral (
                select note.rowid::bigint,
                       coalesce((select max(seq) from note_event where note_event.rowid = note.rowid),
                                (select floor from note_log)) as seq
                from note
                where placed.id is null and failures[draft.n] is null
                  and note.key = draft.key and coalesce(note.author, '') = coalesce(draft.author, '')
            ) found on true
            order by draft.n;
    end if;
end
$$;
revoke execute on function note_publish from public;
do $$
begin
    if current_setting('notes_hub.publishers') <> '' then
        execute 'grant execute on function note_publish(json) to ' || current_setting('notes_hub.publishers');
    end if;
end
$$;
