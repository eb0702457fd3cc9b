// What one writes first: Express, the official SDK, and better-sqlite3 with a durable commit before each answer.
//
//     node express.mjs DATABASE SECRET
import Database from "better-sqlite3";
import express from "express";
import Stripe from "stripe";

const [path, secret] = process.argv.slice(2);
const stripe = new Stripe("sk_test_none");
const database = new Database(path);
database.pragma("journal_mode = WAL");
database.pragma("synchronous = FULL");
database.exec("CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, received_at INTEGER NOT NULL, body BLOB NOT NULL)");
const insert = database.prepare("INSERT OR IGNORE INTO events VALUES (?, unixepoch(), ?)");

const app = express();
app.post("/webhooks", express.raw({ type: "application/json" }), (request, response) => {
  let event;
  try {
    event = stripe.webhooks.constructEvent(request.body, request.headers["stripe-signature"], secret);
  } catch {
    return response.sendStatus(400);
  }
  insert.run(event.id, request.body);
  response.sendStatus(200);
});
const server = app.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/webhooks`));
