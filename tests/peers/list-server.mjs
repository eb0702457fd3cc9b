#!/usr/bin/env node
// Lists that change while they are read, parted into pages in the ways that vendors part theirs.
// Usage: node list-server.mjs [RECORDS]. Written from the public descriptions: RFC 8288 for links, OData 4.01 section 11.3
// for deltas, and what the vendors' pages on pagination have in common for the others. No dependencies.

import { createServer } from "node:http";

const COUNT = Number(process.argv[2] ?? 230);
const SIZE = 20;
const BEGAN = Date.UTC(2026, 10, 1) / 1000;
const time = (seconds) => new Date(seconds * 1000).toISOString().replace(".000Z", "Z");

class List {
  constructor(name) {
    this.name = name;
    this.clock = BEGAN + COUNT;
    this.served = [];
    this.churn = 0;
    this.requests = 0;
    this.changes = 0;
    this.log = [];
    this.records = new Map();
    // Three records have one time.
    for (let id = 1; id <= COUNT; id += 1) this.put(id, BEGAN + Math.floor(id / 3), 0);
  }

  put(id, at, turns) {
    this.changes += 1;
    this.records.set(id, { id, name: `Thing ${id}`, turns, updated_at: time(at) });
    this.log.push({ id, change: this.changes });
  }

  touch(id) {
    this.clock += 1;
    this.put(id, this.clock, this.records.get(id).turns + 1);
  }

  drop(id) {
    this.changes += 1;
    this.records.delete(id);
    this.log.push({ id, change: this.changes });
  }

  /** Between two pages: one that was listed moves to the end, so does one that was not, and one is new. */
  stir() {
    if (this.churn === 0) return;
    this.churn -= 1;
    const here = this.served.filter((id) => this.records.has(id));
    if (here.length) this.touch(here[Math.floor(here.length / 2)]);
    const ids = [...this.records.keys()];
    this.touch(ids[(this.changes * 31) % ids.length]);
    this.clock += 1;
    this.put(Math.max(...ids) + 1, this.clock, 0);
  }

  /** By time and then by id, from a time on. */
  sorted(since) {
    const all = [...this.records.values()].filter((record) => !since || record.updated_at >= since);
    return all.sort((a, b) => (a.updated_at < b.updated_at ? -1 : a.updated_at > b.updated_at ? 1 : a.id - b.id));
  }
}

const opaque = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const clear = (text) => JSON.parse(Buffer.from(text, "base64url").toString());

/** Each answers `{ records, body, headers }` for a query. */
const kinds = {
  link(list, query, url) {
    const page = Number(query.get("page") ?? 1);
    const all = list.sorted(query.get("since"));
    const records = all.slice((page - 1) * SIZE, page * SIZE);
    const target = (number) => {
      const link = new URL(url);
      link.searchParams.set("page", number);
      return link.href;
    };
    // Other relations stand around it, a target holds a comma, and the parameter's name is in capitals (RFC 8288 section 3).
    const links = [`<${target(1)}&x=1,2>; rel="first"`];
    if (page * SIZE < all.length) links.push(`<${target(page + 1)}>; title="a, b"; REL="next last-but-some"`);
    return { records, body: records, headers: { link: links.join(", ") } };
  },
  cursor(list, query) {
    const after = query.has("cursor") ? clear(query.get("cursor")) : null;
    const key = (record) => `${record.updated_at} ${String(record.id).padStart(9, "0")}`;
    const rest = list.sorted(query.get("since")).filter((record) => !after || key(record) > after);
    const records = rest.slice(0, SIZE);
    const next = rest.length > SIZE ? opaque(key(records.at(-1))) : "";
    return { records, body: { data: records, paging: { next } } };
  },
  offset(list, query) {
    const offset = Number(query.get("offset") ?? 0);
    const all = list.sorted(query.get("since"));
    const records = all.slice(offset, offset + SIZE);
    return { records, body: { items: records, total: all.length, offset } };
  },
  page(list, query) {
    const page = Number(query.get("page") ?? 1);
    const all = list.sorted(query.get("since"));
    const records = all.slice((page - 1) * SIZE, page * SIZE);
    return { records, body: { items: records, page, total_pages: Math.ceil(all.length / SIZE) } };
  },
  // By id, whatever changed: what changes behind the reader is for the next reading.
  last(list, query) {
    const after = Number(query.get("starting_after") ?? 0);
    const rest = list.sorted(query.get("since")).filter((record) => record.id > after).sort((a, b) => a.id - b.id);
    const records = rest.slice(0, SIZE);
    return { records, body: { data: records, has_more: rest.length > SIZE } };
  },
  // The state when the list began is in its links: what changes meanwhile is told by the delta link.
  delta(list, query, url) {
    const from = query.has("token") ? clear(query.get("token")) : { since: 0, began: list.changes, after: 0 };
    const began = from.began ?? list.changes;
    let items;
    if (from.since === 0) {
      items = [...list.records.values()].filter((record) => record.id > from.after).sort((a, b) => a.id - b.id);
    } else {
      const changed = new Set(list.log.filter((entry) => entry.change > from.since && entry.change <= began).map((entry) => entry.id));
      const ids = [...changed].filter((id) => id > from.after).sort((a, b) => a - b);
      items = ids.map((id) => list.records.get(id) ?? { id, "@removed": { reason: "deleted" } });
    }
    const records = items.slice(0, SIZE);
    const link = (token) => new URL(`?token=${opaque(token)}`, url).href;
    const body = { value: records };
    if (items.length > SIZE) body["@odata.nextLink"] = link({ since: from.since, began, after: records.at(-1).id });
    else body["@odata.deltaLink"] = link({ since: began, after: 0 });
    return { records, body };
  },
};

const lists = Object.fromEntries(Object.keys(kinds).map((name) => [name, new List(name)]));

const server = createServer((request, response) => {
  const url = new URL(request.url, `http://${request.headers.host}`);
  const [, first, name] = url.pathname.split("/");
  const answer = (status, body, headers = {}) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify(body));
  };
  if (first === "test") {
    const list = lists[name];
    for (let times = Number(url.searchParams.get("drop") ?? 0); times > 0; times -= 1) list.drop(list.sorted()[times * 7].id);
    if (url.searchParams.has("churn")) list.churn = Number(url.searchParams.get("churn"));
    return answer(200, { records: list.sorted(), requests: list.requests });
  }
  if (request.headers.authorization !== "Bearer let-me-in") return answer(401, { error: "who are you?" });
  if (first === "me") return answer(200, { id: "peer" });
  if (!kinds[first]) return answer(404, { error: "no such list" });
  const list = lists[first];
  list.requests += 1;
  let page;
  try {
    page = kinds[first](list, url.searchParams, url);
  } catch (error) {
    return answer(400, { error: String(error) });
  }
  list.served.push(...page.records.map((record) => record.id));
  answer(200, page.body, page.headers);
  list.stir();
});

server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}/` })));
process.stdin.on("end", () => process.exit(0)).resume();
