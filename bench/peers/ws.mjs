// Node's `ws` with `pg`: the broadcast of the README of ws, fed by the "notification" event of pg.
//
// As in the README, one Buffer goes to every client that is open. It is made of the text once, and sent
// with `binary: false`. Compression is off, which is the server's default. The optional bufferutil is
// installed; the README advises it for versions of Node that cannot mask by themselves.

import pg from "pg";
import WebSocket, { WebSocketServer } from "ws";

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.env.PORT),
  backlog: 2048,
  perMessageDeflate: false,
});
const database = new pg.Client({ connectionString: process.env.DATABASE_URL });

database.on("notification", ({ payload }) => {
  const data = Buffer.from(payload);
  server.clients.forEach((client) => {
    if (client.readyState === WebSocket.OPEN) {
      client.send(data, { binary: false });
    }
  });
});

server.on("connection", (client) => client.on("error", console.error));
server.on("error", (error) => {
  throw error;
});

await database.connect();
await database.query("LISTEN channel_note");
if (!server.address()) {
  await new Promise((resolve) => server.once("listening", resolve));
}
console.log("ready");
