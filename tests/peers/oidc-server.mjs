#!/usr/bin/env node
// A certified OpenID provider on loopback. README.md lists the options, clients and /test routes.
// stdout carries one line, when the server is ready; it stops when stdin closes.

import { createHash, createPublicKey, randomUUID, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';

if (!process.env.OIDC_VERBOSE) console.info = () => {};
console.log = console.info;
if (!process.env.OIDC_VERBOSE) console.warn = () => {};

const { Provider } = await import('oidc-provider');

const DEFAULTS = {
  port: 0,
  mountPath: '', // path of the issuer, such as "/tenant/one"
  interactions: 'auto', // auto | page | deny
  pkce: true, // whether PKCE is required
  accessTokenTtl: 3600,
  refreshTokenTtl: 14 * 24 * 3600,
  deviceCodeTtl: 600,
  refreshTokens: 'offline_access', // offline_access (only with that scope) | always | never
  strictOffline: false, // true: offline_access is dropped without prompt=consent, as the provider does by itself
  denyScopes: [], // scopes the user does not grant
  metadata: ['openid', 'oauth'], // which well-known documents exist; also oauth-appended
  redirectUris: [], // beside /callback and / on any loopback port
  keyClients: [], // further clients, which authenticate with a key: see below
  tls: null, // { key, cert, ca }: PEM files; connections may show a certificate, which `ca` vouches for
  account: 'alice', // who signs in, unless login_hint says otherwise
};

const options = readOptions(process.argv[2] ?? process.env.OIDC_OPTIONS ?? '{}');

function readOptions(text) {
  const given = JSON.parse(text);
  for (const name of Object.keys(given)) {
    if (!(name in DEFAULTS)) fail(`no such option: ${name} (there are: ${Object.keys(DEFAULTS).join(', ')})`);
  }
  if (given.interactions && !['auto', 'page', 'deny'].includes(given.interactions)) {
    fail(`interactions is auto, page or deny, not ${given.interactions}`);
  }
  return { ...DEFAULTS, ...given };
}

function fail(message) {
  process.stderr.write(`oidc-server: ${message}\n`);
  process.exit(2);
}

const REDIRECT_URIS = [
  ...['127.0.0.1', 'localhost', '[::1]'].flatMap((host) => [`http://${host}/callback`, `http://${host}/`]),
  ...options.redirectUris,
];
const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';
const user = {
  application_type: 'native', // a native client's loopback redirects may use any port
  redirect_uris: REDIRECT_URIS,
  grant_types: ['authorization_code', 'refresh_token', DEVICE_GRANT],
  response_types: ['code'],
};
const CLIENTS = [
  { ...user, client_id: 'public', token_endpoint_auth_method: 'none' },
  { ...user, client_id: 'basic', client_secret: 'basic-secret', token_endpoint_auth_method: 'client_secret_basic' },
  { ...user, client_id: 'post', client_secret: 'post-secret', token_endpoint_auth_method: 'client_secret_post' },
  {
    ...user,
    client_id: 'id:with+slash/per%cent&amp',
    client_secret: 's:e+c/r%e&t=with space~!*()\'"%41',
    token_endpoint_auth_method: 'client_secret_basic',
  },
  {
    client_id: 'machine',
    client_secret: 'machine-secret',
    token_endpoint_auth_method: 'client_secret_basic',
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
    scope: 'api',
  },
];

/** A client of `keyClients`: `{ id, method, publicKey }` for private_key_jwt, `{ id, method, certificate }` for the two of
 * mutual TLS; the values are PEM files. */
function keyClient({ id, method, publicKey, certificate }) {
  const client = {
    ...user,
    client_id: id,
    token_endpoint_auth_method: method,
    grant_types: [...user.grant_types, 'client_credentials'],
  };
  if (publicKey) {
    const jwk = createPublicKey(readFileSync(publicKey)).export({ format: 'jwk' });
    return { ...client, jwks: { keys: [{ ...jwk, kid: 'key-1', use: 'sig' }] } };
  }
  const shown = new X509Certificate(readFileSync(certificate));
  if (method === 'tls_client_auth') return { ...client, tls_client_auth_subject_dn: shown.subject };
  const jwk = shown.publicKey.export({ format: 'jwk' });
  return { ...client, jwks: { keys: [{ ...jwk, use: 'sig', x5c: [shown.raw.toString('base64')] }] } };
}

/** Keeps everything for the life of the process. The provider's own adapter forgets what has expired (an expired device
 * code would be `invalid_grant` instead of `expired_token`) and evicts live grants after 1,000 entries. */
const stored = new Map();
class Adapter {
  constructor(model) { this.prefix = `${model}:`; }
  async upsert(id, payload) { stored.set(this.prefix + id, payload); }
  async find(id) { return stored.get(this.prefix + id); }
  async destroy(id) { stored.delete(this.prefix + id); }
  async consume(id) { stored.get(this.prefix + id).consumed = Math.floor(Date.now() / 1000); }
  async findByUid(uid) { return this.#findWhere((payload) => payload.uid === uid); }
  async findByUserCode(code) { return this.#findWhere((payload) => payload.userCode === code); }
  async revokeByGrantId(grantId) {
    for (const [key, payload] of stored) {
      if (key.startsWith(this.prefix) && payload.grantId === grantId) stored.delete(key);
    }
  }

  #findWhere(matches) {
    for (const [key, payload] of stored) if (key.startsWith(this.prefix) && matches(payload)) return payload;
    return undefined;
  }
}

const escape = (text) => String(text).replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
const page = (title, body) => `<!DOCTYPE html><html><head><meta charset="utf-8"><link rel="icon" href="data:,">`
  + `<title>${escape(title)}</title></head><body><h1>${escape(title)}</h1>${body}</body></html>`;
const intoForm = (form, buttons) => form.replace('</form>', `${buttons}</form>`);

function configuration() {
  return {
    adapter: Adapter,
    clients: [...CLIENTS, ...options.keyClients.map(keyClient)],
    clientAuthMethods: [
      'none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt',
      ...(options.tls ? ['tls_client_auth', 'self_signed_tls_client_auth'] : []),
    ],
    clockTolerance: 0,
    cookies: { keys: [randomUUID()] },
    scopes: ['openid', 'offline_access', 'email', 'profile', 'api'],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username'] },
    conformIdTokenClaims: false, // the id_token carries the claims too, as most vendors' do
    pkce: { required: () => options.pkce },
    rotateRefreshToken: () => true,
    issueRefreshToken: (_ctx, client, source) => client.grantTypeAllowed('refresh_token')
      && (options.refreshTokens === 'always'
        || (options.refreshTokens === 'offline_access' && source.scopes.has('offline_access'))),
    expiresWithSession: () => false,
    clientBasedCORS: () => false,
    findAccount: (_ctx, id) => ({
      accountId: id,
      claims: () => ({
        sub: id, email: `${id}@example.test`, email_verified: true, name: `User ${id}`, preferred_username: id,
      }),
    }),
    interactions: { url: (_ctx, interaction) => `${mount}/interaction/${interaction.uid}` },
    renderError: (ctx, out) => {
      ctx.type = 'html';
      ctx.body = page('error', Object.entries(out).map(([key, value]) => `<p>${key}: ${escape(value)}</p>`).join(''));
    },
    ttl: {
      AccessToken: options.accessTokenTtl,
      ClientCredentials: options.accessTokenTtl,
      IdToken: options.accessTokenTtl,
      RefreshToken: options.refreshTokenTtl,
      DeviceCode: options.deviceCodeTtl,
      Grant: options.refreshTokenTtl,
      AuthorizationCode: 60,
      Interaction: 600,
      Session: 3600,
    },
    features: {
      devInteractions: { enabled: false },
      resourceIndicators: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      clientCredentials: { enabled: true },
      mTLS: {
        enabled: Boolean(options.tls),
        tlsClientAuth: true,
        selfSignedTlsClientAuth: true,
        certificateBoundAccessTokens: true,
        getCertificate: (ctx) => {
          const shown = ctx.req.socket.getPeerCertificate?.();
          return shown?.raw && new X509Certificate(shown.raw).toString();
        },
        certificateAuthorized: (ctx) => ctx.req.socket.authorized,
        certificateSubjectMatches: (ctx, property, expected) => (
          property === 'tls_client_auth_subject_dn'
          && new X509Certificate(ctx.req.socket.getPeerCertificate().raw).subject === expected),
      },
      userinfo: { enabled: true },
      revocation: { enabled: true, allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId },
      introspection: { enabled: true, allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId },
      deviceFlow: {
        enabled: true,
        userCodeInputSource: (ctx, form, _out, error) => {
          const said = error ? `<p id="error">${escape(error.message)}</p>` : '';
          const button = '<button type="submit" id="continue">Continue</button>';
          ctx.body = page(error ? 'Not accepted' : 'Enter the code', said + intoForm(form, button));
        },
        userCodeConfirmSource: (ctx, form, client, _info, userCode) => {
          const asked = `<p>${escape(client.clientId)} <code>${escape(userCode)}</code></p>`;
          const buttons = '<button type="submit" id="confirm">Confirm</button>'
            + '<button type="submit" id="abort" name="abort" value="yes">Abort</button>';
          ctx.body = page('Confirm the device', asked + intoForm(form, buttons));
        },
        successSource: (ctx) => { ctx.body = page('Device approved', '<p id="done">Return to your device.</p>'); },
      },
    },
  };
}

// ---- the user: signs in and consents, on a page or without one

async function interaction(req, res) {
  const { params } = await provider.interactionDetails(req, res);
  const asPage = options.interactions === 'page' && req.headers['x-test-driver'] !== DRIVER;
  if (asPage && req.method === 'GET') {
    const scopes = (params.scope ?? '').split(' ').map((scope) => `<li>${escape(scope)}</li>`).join('');
    return send(res, 200, 'text/html; charset=utf-8', page('Allow access?', `<p>${escape(params.client_id)} asks for</p>
      <ul>${scopes}</ul><form method="post">
      <button type="submit" id="allow" name="decision" value="allow">Allow</button>
      <button type="submit" id="deny" name="decision" value="deny">Deny</button></form>`));
  }
  const denied = asPage
    ? new URLSearchParams(req.body).get('decision') !== 'allow'
    : options.interactions === 'deny' && req.headers['x-test-driver'] !== DRIVER;
  if (denied) {
    const result = { error: 'access_denied', error_description: 'the user denied the request' };
    return provider.interactionFinished(req, res, result, { mergeWithLastSubmission: false });
  }
  const accountId = params.login_hint || options.account;
  const grant = new provider.Grant({ accountId, clientId: params.client_id });
  const asked = (params.scope ?? '').split(' ').filter(Boolean);
  const granted = asked.filter((scope) => !options.denyScopes.includes(scope));
  const refused = asked.filter((scope) => options.denyScopes.includes(scope));
  if (granted.length) grant.addOIDCScope(granted.join(' '));
  if (refused.length) grant.rejectOIDCScope(refused.join(' '));
  const result = { login: { accountId }, consent: { grantId: await grant.save() } };
  return provider.interactionFinished(req, res, result, { mergeWithLastSubmission: false });
}

/** Secret of this process: requests of `decideDevice` are approved in whatever mode the server runs. */
const DRIVER = randomUUID();

/** Walks through the provider's own device pages as a user's browser would. */
async function decideDevice(userCode, approve) {
  const cookies = new Map();
  const visit = async (url, form) => {
    for (let hop = 0; hop < 12; hop += 1) {
      const response = await fetch(url, {
        redirect: 'manual',
        method: form ? 'POST' : 'GET',
        body: form && new URLSearchParams(form),
        headers: {
          accept: 'text/html',
          cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; '),
          'x-test-driver': DRIVER,
        },
      });
      for (const line of response.headers.getSetCookie()) {
        const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
        if (value) cookies.set(name, value); else cookies.delete(name);
      }
      const location = response.headers.get('location');
      const text = await response.text();
      if (!location) return { status: response.status, text };
      url = new URL(location, url).href;
      form = undefined;
    }
    throw new Error('too many redirects');
  };
  const device = `${origin}${mount}/device`;
  const { text } = await visit(device);
  const xsrf = /name="xsrf" value="([^"]+)"/.exec(text)[1];
  const outcome = await visit(device, { xsrf, user_code: userCode, confirm: 'yes', ...(approve ? {} : { abort: 'yes' }) });
  const done = outcome.text.includes(approve ? 'id="done"' : 'aborted');
  return { done, status: outcome.status, page: outcome.text.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ').trim() };
}

// ---- the log: what came, in the form it came

const LOGGED = {
  '/token': 'POST', '/token/revocation': 'POST', '/token/introspection': 'POST', '/device/auth': 'POST', '/me': undefined,
};
let log = [];

function describe(path, req) {
  const form = new URLSearchParams(req.body);
  const authorization = req.headers.authorization ?? '';
  const basic = /^basic /i.test(authorization) ? Buffer.from(authorization.slice(6), 'base64').toString() : undefined;
  const inBody = form.has('client_secret');
  const bearer = /^bearer /i.test(authorization);
  const presented = form.get('refresh_token') ?? form.get('token');
  let clientId = form.get('client_id');
  if (basic !== undefined) {
    const id = basic.split(':')[0];
    try { clientId = decodeURIComponent(id.replace(/\+/g, '%20')); } catch { clientId = id; }
  }
  let clientAuth = 'none';
  if (basic !== undefined) clientAuth = inBody ? 'basic+post' : 'basic';
  else if (inBody) clientAuth = 'post';
  else if (form.has('client_assertion')) clientAuth = 'private_key_jwt';
  else if (bearer) clientAuth = 'bearer';
  return {
    path,
    grant_type: form.get('grant_type'),
    client_auth: clientAuth,
    client_id: clientId,
    scope: form.get('scope'),
    presented: presented && createHash('sha256').update(presented).digest('hex').slice(0, 16),
    at: new Date().toISOString(),
  };
}

// ---- HTTP

function send(res, status, type, body) {
  res.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' });
  res.end(body);
}
const sendJson = (res, status, value) => send(res, status, 'application/json', `${JSON.stringify(value)}\n`);

async function readBody(req) {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

async function test(url, res) {
  const userCode = url.searchParams.get('user_code') ?? '';
  switch (url.pathname) {
    case '/test/log': return sendJson(res, 200, log);
    case '/test/reset-log': log = []; return sendJson(res, 200, log);
    case '/test/device/approve':
    case '/test/device/deny': {
      const outcome = await decideDevice(userCode, url.pathname.endsWith('approve'));
      return sendJson(res, outcome.done ? 200 : 409, outcome);
    }
    case '/test/revoke-all': { // as if the user took access away at the vendor
      for (const key of stored.keys()) if (/^(Grant|AccessToken|RefreshToken):/.test(key)) stored.delete(key);
      return sendJson(res, 200, { revoked: true });
    }
    default: return sendJson(res, 404, { error: 'no such test route' });
  }
}

/** The provider looks a refresh token up and marks it used in two steps; one at a time, so that of two simultaneous
 * presentations the second is always seen as reuse, as a vendor's database transaction would. */
let tokenTurn = Promise.resolve();

async function handle(req, res) {
  const url = new URL(req.url, origin);
  if (url.pathname.startsWith('/test/')) return test(url, res);

  const form = WELL_KNOWN.get(url.pathname);
  const known = form && options.metadata.includes(form);
  if ((form && !known) || !`${url.pathname}/`.startsWith(`${mount}/`) && !known) {
    return sendJson(res, 404, { error: 'not_found' });
  }
  const path = known ? OPENID_METADATA : url.pathname.slice(mount.length);
  if (path === '/auth' && !options.strictOffline && !url.searchParams.has('prompt')
    && url.searchParams.get('scope')?.split(' ').includes('offline_access')) {
    url.searchParams.set('prompt', 'consent');
  }
  if (req.method === 'POST') req.body = await readBody(req);
  if (path.startsWith('/interaction/')) return interaction(req, res);

  req.url = path + url.search;
  req.originalUrl = mount + req.url; // from the two the provider learns where it is mounted
  const logged = path in LOGGED && [undefined, req.method].includes(LOGGED[path]);
  if (!logged) return callback(req, res);

  const entry = describe(path, req);
  const answer = async () => {
    await callback(req, res);
    log.push({ ...entry, status: res.statusCode, error: req.oauthError ?? null, detail: req.oauthDetail ?? null });
  };
  if (path !== '/token') return answer();
  tokenTurn = tokenTurn.then(answer, answer);
  return tokenTurn;
}

const listener = (req, res) => {
  handle(req, res).catch((error) => {
    process.stderr.write(`oidc-server: ${req.method} ${req.url?.split('?')[0]}: ${error.stack}\n`);
    if (!res.headersSent) sendJson(res, 500, { error: 'server_error' });
    else res.destroy();
  });
};
const pem = (path) => readFileSync(path);
const server = options.tls
  ? createTlsServer({
    key: pem(options.tls.key),
    cert: pem(options.tls.cert),
    ca: pem(options.tls.ca),
    requestCert: true,
    rejectUnauthorized: false,
  }, listener)
  : createServer(listener);
server.on('error', (error) => fail(error.message));
await new Promise((resolve) => { server.listen(options.port, '127.0.0.1', resolve); });

const origin = `${options.tls ? 'https' : 'http'}://127.0.0.1:${server.address().port}`;
const mount = options.mountPath.replace(/\/+$/, '');
const issuer = origin + options.mountPath;
const provider = new Provider(issuer, configuration());
provider.use(async (ctx, next) => {
  await next();
  ctx.req.oauthError = ctx.body?.error;
});
for (const name of ['grant', 'revocation', 'introspection', 'device_authorization', 'userinfo']) {
  provider.on(`${name}.error`, (ctx, error) => { // what the provider knows and does not tell the client
    ctx.req.oauthDetail = error.error_detail ?? error.error_description;
  });
}
const callback = provider.callback();

/** Where metadata may be found. Of these the provider itself serves `openid` and, beside it, `oauth-appended`; RFC 8414
 * (section 3.1) puts the well-known part before the issuer's path. Without a path the last two are one. */
const OPENID_METADATA = '/.well-known/openid-configuration';
const WELL_KNOWN = new Map([
  [`${mount}${OPENID_METADATA}`, 'openid'],
  [`${mount}/.well-known/oauth-authorization-server`, 'oauth-appended'],
  [`/.well-known/oauth-authorization-server${mount}`, 'oauth'],
]);

process.stdout.write(`${JSON.stringify({ issuer, log: `${origin}/test/log` })}\n`);

process.stdin.on('error', () => process.exit(0));
process.stdin.on('close', () => process.exit(0));
process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
