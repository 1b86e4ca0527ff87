"""The design that this project grew from: bottle on gevent, with a Postgres connection for each listener.

`GET /listen_notes` is a stream with a note a line. Its generator connects, LISTENs and yields the payload
of each notification; psycopg 3 waits in gevent's way by itself once `monkey.patch_all()` has been called,
which bottle's page on gevent puts before all other imports. What differs from the demonstration: each note ends
with a newline, and a blank line is sent as soon as the stream listens, since without it nothing, not even
the headers, is sent before the first note. As many listeners as Postgres takes connections can be served.
"""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402

import psycopg  # noqa: E402
from bottle import Bottle, response  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402

app = Bottle()


@app.get("/listen_notes")
def listen_notes():
    response.content_type = "application/x-ndjson"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("LISTEN channel_note")
        yield "\n"
        for notify in connection.notifies():
            yield notify.payload + "\n"


server = WSGIServer(("127.0.0.1", int(os.environ["PORT"])), app, log=None, backlog=2048)
server.start()
print("ready", flush=True)
server.serve_forever()
