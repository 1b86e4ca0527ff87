-- Trimming the log: everything up to the last event before a time goes, and the floor says so. At
-- most `most` events at once, so that no statement holds much; returns how many went.
create function note_prune(before timestamptz, most int) returns bigint
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    edge bigint := (select max(seq) from note_event where at < before);
    gone bigint;
    highest bigint;
begin
    with trimmed as (
        delete from note_event
        where seq in (select seq from note_event where seq <= edge order by seq limit most)
        returning seq
    )
    select count(*), max(seq) into gone, highest from trimmed;
    update note_log set floor = greatest(floor, highest) where highest is not null;
    return gone;
end
$$;
revoke execute on function note_prune from public;
