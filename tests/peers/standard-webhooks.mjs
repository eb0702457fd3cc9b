#!/usr/bin/env node
// Receives webhooks and verifies them with the reference library. Usage: node standard-webhooks.mjs SECRET

import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.argv[2]);
const say = (object) => console.log(JSON.stringify(object));

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks).toString("utf8");
    let verified = null;
    let error = null;
    try {
      verified = webhook.verify(body, request.headers);
    } catch (caught) {
      error = String(caught.message);
    }
    say({ method: request.method, url: request.url, headers: request.headers, verified, error });
    response.writeHead(verified ? 204 : 401).end();
  });
});

server.listen(0, "127.0.0.1", () => say({ url: `http://127.0.0.1:${server.address().port}/hook` }));
process.stdin.on("end", () => process.exit(0)).resume();
