-- The closing brace of the row's JSON is cut off as a byte: to cut a character, Postgres counts all
-- of them first, which took a twentieth of a batch of note_publish.
create or replace function note_payload(op text, seq bigint, prev bigint, id bigint, topic text, row_json text)
returns text
language sql stable as $$
    select case
            when octet_length(row_json) <= 7800 then convert_from(
                substring(convert_to(row_json, getdatabaseencoding()) for octet_length(row_json) - 1),
                getdatabaseencoding())
            else left(json_build_object('rowid', id, 'topic', topic)::text, -1)
        end || (',"seq":' || seq || ',"prev":' || prev || ',"op":"' || op || '"}')
$$;
