-- The floor is one row: a second one is impossible. A restore of data alone into a database that has
-- the schema brings its own rows of note_log and of hub_migration; they join what is there, so the
-- restore neither fails nor leaves two floors. Where several floors are, the highest is right.
create function note_log_merge() returns trigger
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update note_log set floor = greatest(floor, new.floor);
    return case when found then null else new end;
end
$$;

create function hub_migration_merge() returns trigger
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    return case when exists (select from hub_migration where version = new.version) then null else new end;
end
$$;

delete from note_log where ctid <> (select ctid from note_log order by floor desc limit 1);
insert into note_log (floor)
    select coalesce((select min(seq) - 1 from note_event), (select last_value from note_seq))
    where not exists (select from note_log);
alter table note_log add column only_row boolean not null default true primary key check (only_row);
create trigger note_log_merge before insert on note_log
    for each row execute function note_log_merge();
create trigger hub_migration_merge before insert on hub_migration
    for each row execute function hub_migration_merge();

-- Trimming the log: the oldest events go, up to the first that is not older than a time, and the
-- floor says so. At most `most` events at once, or what few more it takes to pass a run of events
-- without a time; returns how many went.
--
-- The time of an event is its seq, in microseconds since 1970. `at` isn't: a clock that is behind
-- for a moment writes an old `at` into an event of now, but no low seq. Only where the numbers are
-- ahead of the clock do they say nothing, as after a clock that was far ahead: there `at` decides.
-- An event whose `at` is ahead too goes with the next one that is old enough.
--
-- It begins at the floor, since a scan from the start would pass all that was trimmed before. A sort
-- would read the whole log for each batch, whatever the statistics say of it.
create or replace function note_prune(before timestamptz, most int) returns bigint
language plpgsql security definer
set search_path = public, pg_temp set enable_sort = off set enable_seqscan = off as $$
declare
    now_seq bigint := extract(epoch from clock_timestamp()) * 1000000;
    edge bigint := extract(epoch from before) * 1000000;
    old_floor bigint := coalesce((select max(floor) from note_log), -1);
    new_floor bigint;
    seen int := 0;
    gone bigint;
    event record;
begin
    for event in select seq, at from note_event where seq > old_floor order by seq loop
        if event.seq <= now_seq then
            exit when event.seq > edge;
            new_floor := event.seq;
        elsif event.at <= clock_timestamp() then
            exit when event.at >= before;
            new_floor := event.seq;
        end if;
        seen := seen + 1;
        exit when seen >= most and new_floor is not null;
    end loop;
    if new_floor is null then
        return 0;
    end if;
    delete from note_event where seq > old_floor and seq <= new_floor;
    get diagnostics gone = row_count;
    insert into note_log (floor) values (new_floor);
    return gone;
end
$$;

-- What concerns every topic, such as a TRUNCATE, is read with the events of any topic. It is so little
-- that without an index of its own Postgres would rather look for it in the whole log.
create index note_event_everywhere on note_event (seq) where topic is null;
