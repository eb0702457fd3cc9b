#!/usr/bin/env node
// An MCP server with authorization, of the official SDK, on loopback. README.md lists the options and /test routes.
// stdout carries one line, when the server is ready; it stops when stdin closes.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import { InvalidGrantError, InvalidTokenError } from '@modelcontextprotocol/sdk/server/auth/errors.js';
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js';
import { getOAuthProtectedResourceMetadataUrl, mcpAuthRouter } from '@modelcontextprotocol/sdk/server/auth/router.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { EmptyResultSchema, isInitializeRequest } from '@modelcontextprotocol/sdk/types.js';
import express from 'express';
import { z } from 'zod';

const DEFAULTS = {
  port: 0,
  accessTokenTtl: 3600, // seconds
  tokenLatency: 0, // how long a token request takes that was acted on, in milliseconds
};
const given = JSON.parse(process.argv[2] ?? '{}');
for (const name of Object.keys(given)) {
  if (!(name in DEFAULTS)) {
    process.stderr.write(`mcp-server: no such option: ${name} (there are: ${Object.keys(DEFAULTS).join(', ')})\n`);
    process.exit(2);
  }
}
const options = { ...DEFAULTS, ...given };

const log = { registrations: 0, authorizations: 0, refreshes: 0, presented_twice: 0, unknown_grants: 0, unauthorized: 0,
  sessions: 0, calls: 0, cancelled: 0, access_tokens: 0 };
const clients = new Map();
const codes = new Map(); // code -> { challenge, redirectUri, client }
const access = new Map(); // token -> { client, expiresAt, scopes }
const families = new Map(); // refresh token -> family; a family is { newest, client, resource }
const used = new Set();

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Rotates refresh tokens. One that comes twice revokes its family, as RFC 9700 section 4.14.2 has it. */
const provider = {
  clientsStore: {
    getClient: (id) => clients.get(id),
    registerClient(client) {
      log.registrations++;
      clients.set(client.client_id, client);
      return client;
    },
  },
  async authorize(client, params, res) {
    log.authorizations++;
    const code = randomUUID();
    codes.set(code, { challenge: params.codeChallenge, client: client.client_id, resource: params.resource?.href });
    const target = new URL(params.redirectUri);
    target.searchParams.set('code', code);
    if (params.state !== undefined) target.searchParams.set('state', params.state);
    res.redirect(target.href);
  },
  async challengeForAuthorizationCode(_client, code) {
    if (!codes.has(code)) throw new InvalidGrantError('unknown code');
    return codes.get(code).challenge;
  },
  async exchangeAuthorizationCode(client, code, _verifier, _redirectUri, resource) {
    const known = codes.get(code);
    codes.delete(code);
    if (!known || known.client !== client.client_id) throw new InvalidGrantError('unknown code');
    if (known.resource !== resource?.href) throw new InvalidGrantError('another resource');
    return issue({ client: client.client_id, resource: known.resource });
  },
  async exchangeRefreshToken(client, token, _scopes, resource) {
    log.refreshes++;
    const family = families.get(token);
    if (used.has(token)) log.presented_twice++;
    if (!family || family.client !== client.client_id || family.resource !== resource?.href) {
      log.unknown_grants++;
      throw new InvalidGrantError('unknown refresh token');
    }
    if (used.has(token) || family.isRevoked) {
      family.isRevoked = true;
      throw new InvalidGrantError('refresh token was used before');
    }
    used.add(token);
    const tokens = issue(family);
    if (options.tokenLatency) await sleep(options.tokenLatency);
    return tokens;
  },
  async verifyAccessToken(token) {
    const known = access.get(token);
    if (!known || known.expiresAt <= Date.now() / 1000) {
      log.unauthorized++;
      throw new InvalidTokenError('the token has expired');
    }
    return { token, clientId: known.client, scopes: known.scopes, expiresAt: known.expiresAt };
  },
};

function issue(family) {
  const [token, refresh] = [randomUUID(), randomUUID()];
  const expiresAt = Math.floor(Date.now() / 1000) + options.accessTokenTtl;
  log.access_tokens++;
  access.set(token, { client: family.client, expiresAt, scopes: ['tools'] });
  families.set(refresh, family);
  return { access_token: token, token_type: 'Bearer', expires_in: options.accessTokenTtl, refresh_token: refresh, scope: 'tools' };
}

function tools() {
  const server = new McpServer({ name: 'peer', version: '1.0.0' }, { capabilities: { logging: {} } });
  const text = (value) => ({ content: [{ type: 'text', text: String(value) }] });
  server.registerTool('echo', { description: 'Return a text', inputSchema: { text: z.string() } }, (input) => {
    log.calls++;
    return text(input.text);
  });
  server.registerTool('count_to', { description: 'Report progress', inputSchema: { steps: z.number() } },
    async ({ steps }, { _meta, sendNotification, sendRequest }) => {
      for (let progress = 1; progress <= steps; progress++) {
        await sendNotification({ method: 'notifications/progress',
          params: { progressToken: _meta.progressToken, progress, total: steps } });
        // The SDK's client loses a notification that arrives together with the answer.
        await sendRequest({ method: 'ping' }, EmptyResultSchema);
      }
      return text('counted');
    });
  server.registerTool('ask', { description: 'Ask the user for a name', inputSchema: {} }, async (_input, extra) => {
    const answer = await extra.sendRequest({ method: 'elicitation/create', params: { mode: 'form', message: 'Your name?',
      requestedSchema: { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] } } }, z.any());
    return text(`hello ${answer.content?.name}`);
  });
  server.registerTool('wait', { description: 'Wait until cancelled', inputSchema: {} }, async (_input, extra) => {
    const cancelled = new Promise((resolve) => extra.signal.addEventListener('abort', resolve));
    await extra.sendNotification({ method: 'notifications/progress',
      params: { progressToken: extra._meta.progressToken, progress: 1 } });
    await cancelled;
    log.cancelled++;
    return text('cancelled');
  });
  server.registerTool('grow', { description: 'Add a tool', inputSchema: {} }, () => {
    server.registerTool(`grown_${randomUUID()}`, { description: 'New', inputSchema: {} }, () => text('new'));
    return text('grown');
  });
  return server;
}

const listener = createServer();
await new Promise((resolve) => listener.listen(options.port, '127.0.0.1', resolve));
const origin = `http://127.0.0.1:${listener.address().port}`;
const url = new URL(`${origin}/mcp`);
const transports = new Map();

const app = express();
app.get('/test/log', (_req, res) => res.json(log));
// As a server that was restarted: nothing is known of any session.
app.post('/test/restart', async (_req, res) => {
  await Promise.all([...transports.values()].map((transport) => transport.close()));
  transports.clear();
  res.json({});
});
app.post('/test/revoke-all', (_req, res) => {
  for (const family of families.values()) family.isRevoked = true;
  access.clear();
  res.json({});
});
const unlimited = { rateLimit: false };
app.use(mcpAuthRouter({ provider, issuerUrl: new URL(origin), resourceServerUrl: url, scopesSupported: ['tools'],
  authorizationOptions: unlimited, tokenOptions: unlimited, clientRegistrationOptions: unlimited }));
app.use('/mcp', requireBearerAuth({ verifier: provider, requiredScopes: ['tools'],
  resourceMetadataUrl: getOAuthProtectedResourceMetadataUrl(url) }));
app.use('/mcp', express.json({ limit: '20mb' }));
app.all('/mcp', async (req, res) => {
  const id = req.headers['mcp-session-id'];
  let transport = transports.get(id);
  if (!transport && !id && isInitializeRequest(req.body)) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized(created) {
        log.sessions++;
        transports.set(created, transport);
      },
      onsessionclosed: (closed) => transports.delete(closed),
    });
    await tools().connect(transport);
  }
  if (!transport) {
    // In the words of the SDK's own examples.
    return res.status(400).json({ jsonrpc: '2.0', error: { code: -32000, message: 'Bad Request: No valid session ID provided' }, id: null });
  }
  await transport.handleRequest(req, res, req.body);
});
listener.on('request', app);
listener.keepAliveTimeout = 60_000;

process.stdout.write(`${JSON.stringify({ url: url.href, log: `${origin}/test/log` })}\n`);
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
process.stdin.on('close', () => process.exit(0));
