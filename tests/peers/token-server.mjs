#!/usr/bin/env node
// A service that gives tokens for keys, as vendors do who know no person: JWT bearer grants, installations of an app, a key
// for a token. Assertions are verified by `jose`. README.md lists the options and routes.
// stdout carries one line, when the server is ready; it stops when stdin closes.

import { createPublicKey, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { jwtVerify } from 'jose';

const DEFAULTS = {
  publicKey: undefined, // PEM file: the key that assertions are verified with
  algorithms: ['RS256'],
  issuer: 'robot@example.test', // of assertions
  audience: 'https://token.example.test/', // of assertions for /token
  apiKey: 'key-1', // what /login takes
  ttl: 3600, // seconds that tokens live
  clockOffset: 0, // seconds by which this server's clock is ahead of the machine's
  delay: 0, // milliseconds that an exchange takes
  tls: undefined, // { key, cert, ca }: PEM files; every connection must show a certificate that `ca` issued
};
const options = { ...DEFAULTS, ...JSON.parse(process.argv[2] ?? '{}') };
const unknown = Object.keys(options).filter((name) => !(name in DEFAULTS));
if (unknown.length) {
  process.stderr.write(`token-server: no such option: ${unknown}\n`);
  process.exit(2);
}

const key = options.publicKey && createPublicKey(readFileSync(options.publicKey));
const now = () => Math.floor(Date.now() / 1000) + options.clockOffset;
const tokens = new Map(); // token: when it ends
const seen = new Set(); // ids of assertions
let refusing = false; // as if somebody had deleted the key
let log = [];

async function verify(assertion, expected) {
  const { payload } = await jwtVerify(assertion, key, {
    issuer: options.issuer,
    algorithms: options.algorithms,
    currentDate: new Date(now() * 1000),
    clockTolerance: 0,
    requiredClaims: ['exp', 'iat'],
    ...expected,
  });
  if (payload.iat > now() + 60) throw new Error('issued in the future');
  if (payload.exp > now() + 3700) throw new Error('good for too long');
  if (payload.jti !== undefined && seen.has(payload.jti)) throw new Error('used before');
  seen.add(payload.jti);
  return payload;
}

function issue() {
  const token = `token-${randomUUID()}`;
  tokens.set(token, now() + options.ttl);
  return token;
}

const endOf = (token) => new Date(tokens.get(token) * 1000).toISOString();

const routes = {
  // RFC 7523 section 2.1.
  async 'POST /token'(request) {
    const form = new URLSearchParams(request.body);
    if (form.get('grant_type') !== 'urn:ietf:params:oauth:grant-type:jwt-bearer') {
      return [400, { error: 'unsupported_grant_type' }];
    }
    if (refusing) return [400, { error: 'invalid_grant', error_description: 'the account was deleted' }];
    try {
      const claims = await verify(form.get('assertion'), { audience: options.audience });
      const access_token = issue();
      return [200, { access_token, token_type: 'Bearer', expires_in: options.ttl, scope: claims.scope }];
    } catch (error) {
      return [400, { error: 'invalid_grant', error_description: error.message }];
    }
  },
  // As GitHub has it.
  async 'POST /app/installations/42/access_tokens'(request) {
    if (refusing) return [404, { message: 'Not Found' }];
    try {
      await verify((request.headers.authorization ?? '').replace(/^Bearer /, ''), {});
      const token = issue();
      return [201, { token, expires_at: endOf(token), permissions: { issues: 'read' } }];
    } catch (error) {
      return [401, { message: error.message }];
    }
  },
  async 'DELETE /installation/token'(request) {
    return tokens.delete((request.headers.authorization ?? '').replace(/^Bearer /, '')) ? [204, {}] : [401, {}];
  },
  async 'POST /login'(request) {
    if (request.headers['content-type'] !== 'application/json') return [415, { message: 'JSON is needed' }];
    const { api_key: given } = JSON.parse(request.body);
    if (refusing || given !== options.apiKey) return [401, { message: 'unknown key' }];
    const token = issue();
    return [200, { session: { token, until: tokens.get(token) } }];
  },
  async 'GET /me'(request) {
    const token = (request.headers.authorization ?? '').replace(/^Bearer /, '');
    if (token !== options.apiKey && !(tokens.get(token) > now())) return [401, { message: 'no such token' }];
    const shown = request.socket.getPeerCertificate?.();
    return [200, { id: '7', name: 'Robot', certificate: shown?.subject?.CN ?? null }];
  },
  async 'GET /installation/repositories'(request) {
    const token = (request.headers.authorization ?? '').replace(/^Bearer /, '');
    if (!(tokens.get(token) > now())) return [401, { message: 'Bad credentials' }];
    return [200, { total_count: 1, repositories: [{ id: 1, owner: { id: 9, login: 'acme' } }] }];
  },
  async 'GET /test/log'() { return [200, log]; },
  async 'GET /test/refuse'() { refusing = true; return [200, {}]; },
  async 'GET /test/accept'() { refusing = false; return [200, {}]; },
  async 'GET /test/clock'(request) {
    options.clockOffset = Number(new URL(request.url, 'http://x').searchParams.get('offset'));
    return [200, {}];
  },
  async 'GET /test/forget'() { tokens.clear(); return [200, {}]; },
};

async function handle(request, response) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  request.body = Buffer.concat(chunks).toString();
  const name = `${request.method} ${request.url.split('?')[0]}`;
  const [status, document] = await (routes[name] ?? (async () => [404, { message: 'Not Found' }]))(request);
  if (!name.includes('/test/')) log.push({ request: name, status });
  if (options.delay && request.method === 'POST') await new Promise((done) => { setTimeout(done, options.delay); });
  const date = new Date(now() * 1000).toUTCString();
  response.writeHead(status, { 'content-type': 'application/json', date });
  response.end(status === 204 ? undefined : JSON.stringify(document));
}

const listener = (request, response) => handle(request, response).catch((error) => {
  process.stderr.write(`token-server: ${error.stack}\n`);
  response.writeHead(500).end();
});
const read = (path) => readFileSync(path);
const server = options.tls
  ? createTlsServer({
    key: read(options.tls.key),
    cert: read(options.tls.cert),
    ca: read(options.tls.ca),
    requestCert: true,
    rejectUnauthorized: true,
  }, listener)
  : createServer(listener);
await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
const origin = `${options.tls ? 'https' : 'http'}://127.0.0.1:${server.address().port}`;
process.stdout.write(`${JSON.stringify({ origin })}\n`);
process.stdin.on('error', () => process.exit(0));
process.stdin.on('close', () => process.exit(0));
process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
