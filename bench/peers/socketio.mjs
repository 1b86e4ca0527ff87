// Socket.IO with its Postgres adapter, set up as the adapter's README has it.
//
// `io.emit` goes through the adapter, as it has to where several servers share the clients: each event is
// first notified to the other servers through Postgres, then sent to the clients of this one. The pool has
// two connections, one that the adapter listens on and one that it publishes on; with more of them the
// adapter publishes in parallel, and events would overtake each other. bufferutil is installed, as the page
// on performance advises. Of the transports only WebSocket; compression is off, which is the default.

import { createServer } from "node:http";

import { createAdapter } from "@socket.io/postgres-adapter";
import pg from "pg";
import { Server } from "socket.io";

const connectionString = process.env.DATABASE_URL;
const pool = new pg.Pool({ connectionString, max: 2 });
pool.on("error", (error) => console.error("Postgres error", error));

await pool.query(`
  CREATE TABLE IF NOT EXISTS socket_io_attachments (
    id         bigserial UNIQUE,
    created_at timestamptz DEFAULT NOW(),
    payload    bytea
  );
`);

const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  serveClient: false,
  adapter: createAdapter(pool),
});

const listener = new pg.Client({ connectionString });
listener.on("notification", ({ payload }) => io.emit("note", JSON.parse(payload)));
await listener.connect();
await listener.query("LISTEN channel_note");

http.listen({ host: "127.0.0.1", port: Number(process.env.PORT), backlog: 2048 }, () => console.log("ready"));
