#!/usr/bin/env node
// Verifies and signs webhooks with the vendors' own SDKs, as README.md says. Keys come on stdin.

import { execFileSync } from "node:child_process";
import {
  createHash, createHmac, createPrivateKey, createPublicKey, createSign, createVerify, generateKeyPairSync, sign as signRaw,
  timingSafeEqual, X509Certificate,
} from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { crc32 } from "node:zlib";

import hubspot from "@hubspot/api-client/lib/src/utils/signature.js";
import { signWebhookPayload, verifyWebhookSignature } from "@notionhq/client";
import * as github from "@octokit/webhooks-methods";
import bolt from "@slack/bolt";
import discord from "discord-interactions";
import { OAuth2Client } from "google-auth-library";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";
import twilio from "twilio";

const stripe = new Stripe("sk_test_none");
const text = (body) => body.toString("utf8");
const hmac = (hash, key, data, encoding) => createHmac(hash, key).update(data).digest(encoding);
const same = (a = "", b) => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
const form = (body) => {
  const fields = {};
  for (const [name, value] of new URLSearchParams(text(body))) {
    fields[name] = name in fields ? [].concat(fields[name], value) : value;
  }
  return fields;
};
const fetchText = async (url) => (await fetch(url)).text();

// A vendor whose scheme is a published formula and has no SDK that verifies: the formula both ways.
const formula = (header, value) => ({
  sdk: "the formula",
  verify: (request, key) => same(request.headers[header], value(request, key)),
  sign: (request, key) => ({ [header]: value(request, key) }),
});

const standard = {
  sdk: "standardwebhooks",
  verify: (request, key) => new Webhook(key).verify(text(request.body), request.headers),
  sign: (request, key, at, id = "msg_of_the_sdk") => ({
    "webhook-id": id,
    "webhook-timestamp": String(at),
    "webhook-signature": new Webhook(key).sign(id, new Date(at * 1000), text(request.body)),
  }),
};

// The older two have no time.
const hubspotOf = (version) => {
  const options = (request, key, at) => ({
    method: "POST", signatureVersion: version, clientSecret: key, requestBody: text(request.body), url: request.url, timestamp: at,
  });
  const { Signature } = hubspot;
  if (version === "v3") {
    return {
      sdk: "@hubspot/api-client",
      verify: ({ headers, ...request }, key) =>
        Signature.isValid({
          ...options(request, key, Number(headers["x-hubspot-request-timestamp"])), signature: headers["x-hubspot-signature-v3"],
        }),
      sign: (request, key, at) => ({
        "X-HubSpot-Request-Timestamp": String(at * 1000),
        "X-HubSpot-Signature-v3": Signature.getSignature("POST", "v3", options(request, key, at * 1000)),
      }),
    };
  }
  return {
    sdk: "@hubspot/api-client",
    verify: ({ headers, ...request }, key) =>
      headers["x-hubspot-signature-version"] === version &&
      Signature.isValid({ ...options(request, key), signature: headers["x-hubspot-signature"] }),
    sign: (request, key) => ({
      "X-HubSpot-Signature-Version": version,
      "X-HubSpot-Signature": Signature.getSignature("POST", version, options(request, key)),
    }),
  };
};

// Of Google and PayPal: a key of this process with its certificate, under the name that the sandbox's has too.
const subject = "/CN=messageverificationcerts.paypal.com";
const issued = execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "-", "-subj", subject, "-days", "2"], {
  stdio: ["ignore", "pipe", "ignore"],
}).toString();
const rsa = createPrivateKey(issued);
const certificate = issued.slice(issued.indexOf("-----BEGIN CERTIFICATE-----"));
const jwk = { ...createPublicKey(rsa).export({ format: "jwk" }), kid: "sandbox", alg: "RS256", use: "sig" };
const { privateKey: other } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const part = (value) => Buffer.from(value).toString("base64url");

const paypalBase = (headers, key, body) =>
  [headers["paypal-transmission-id"], headers["paypal-transmission-time"], key.webhook_id, crc32(body)].join("|");

const schemes = {
  stripe: {
    sdk: "stripe",
    verify: (request, key) => stripe.webhooks.constructEvent(request.body, request.headers["stripe-signature"], key),
    sign: (request, key, at) => ({
      "Stripe-Signature": stripe.webhooks.generateTestHeaderString({ payload: text(request.body), secret: key, timestamp: at }),
    }),
  },
  github: {
    sdk: "@octokit/webhooks-methods",
    verify: (request, key) => github.verify(key, text(request.body), request.headers["x-hub-signature-256"]),
    sign: async (request, key) => ({ "X-Hub-Signature-256": await github.sign(key, text(request.body)) }),
  },
  slack: {
    sdk: "@slack/bolt",
    verify: (request, key) => {
      bolt.verifySlackRequest({ signingSecret: key, body: text(request.body), headers: request.headers });
      return true;
    },
    sign: (request, key, at) => ({
      "X-Slack-Request-Timestamp": String(at),
      "X-Slack-Signature": `v0=${hmac("sha256", key, `v0:${at}:${text(request.body)}`, "hex")}`,
    }),
  },
  "twilio-form": {
    sdk: "twilio",
    verify: (request, key) =>
      twilio.validateRequest(key, request.headers["x-twilio-signature"], request.url, form(request.body)),
    sign: (request, key) => ({
      "X-Twilio-Signature": twilio.getExpectedTwilioSignature(key, request.url, form(request.body)),
    }),
  },
  "twilio-json": {
    sdk: "twilio",
    verify: (request, key) =>
      twilio.validateRequestWithBody(key, request.headers["x-twilio-signature"], request.url, text(request.body)),
    query: (request) => ({ bodySHA256: createHash("sha256").update(request.body).digest("hex") }),
    sign: (request, key) => ({ "X-Twilio-Signature": twilio.getExpectedTwilioSignature(key, request.url, {}) }),
  },
  notion: {
    sdk: "@notionhq/client",
    verify: (request, key) =>
      verifyWebhookSignature({ body: text(request.body), signature: request.headers["x-notion-signature"], verificationToken: key }),
    sign: async (request, key) => ({
      "X-Notion-Signature": await signWebhookPayload({ body: text(request.body), verificationToken: key }),
    }),
  },
  "hubspot-v1": hubspotOf("v1"),
  "hubspot-v2": hubspotOf("v2"),
  "hubspot-v3": hubspotOf("v3"),
  discord: {
    sdk: "discord-interactions",
    verify: ({ body, headers }, key) =>
      discord.verifyKey(body, headers["x-signature-ed25519"], headers["x-signature-timestamp"], key.public),
    sign: (request, key, at) => {
      const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), Buffer.from(key.seed, "hex")]);
      const signer = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
      const signature = signRaw(null, Buffer.concat([Buffer.from(String(at)), request.body]), signer);
      return { "X-Signature-Timestamp": String(at), "X-Signature-Ed25519": signature.toString("hex") };
    },
  },
  gitlab: standard,
  webhook: standard,
  endpoint: standard,
  google: {
    sdk: "google-auth-library",
    verify: async (request, key) => {
      const client = new OAuth2Client();
      const { keys } = JSON.parse(await fetchText(key.keys));
      const pem = (jwk) => createPublicKey({ key: jwk, format: "jwk" }).export({ format: "pem", type: "spki" });
      const certs = Object.fromEntries(keys.map((jwk) => [jwk.kid, pem(jwk)]));
      client.getFederatedSignonCertsAsync = async () => ({ certs });
      const idToken = request.headers.authorization?.replace(/^Bearer /, "");
      const payload = (await client.verifyIdToken({ idToken, audience: key.audience })).getPayload();
      return payload.email === key.email && payload.email_verified;
    },
    sign: (request, key, at) => {
      const claims = {
        iss: "https://accounts.google.com", aud: key.audience, email: key.email, email_verified: true, iat: at, exp: at + 3600,
      };
      const signed = `${part('{"alg":"RS256","kid":"sandbox"}')}.${part(JSON.stringify(claims))}`;
      const signature = createSign("RSA-SHA256").update(signed).sign(key.other ? other : rsa, "base64url");
      return { Authorization: `Bearer ${signed}.${signature}` };
    },
  },
  paypal: {
    sdk: "node:crypto",
    verify: async ({ body, headers }, key) => {
      const path = new URL(headers["paypal-cert-url"]).pathname;
      const certificate = new X509Certificate(await fetchText(new URL(path, key.certificates)));
      const verifier = createVerify("RSA-SHA256").update(paypalBase(headers, key, body));
      return verifier.verify(certificate.publicKey, headers["paypal-transmission-sig"], "base64");
    },
    sign: (request, key, at) => {
      const headers = {
        "paypal-transmission-id": "69cd13f0-d67a-11e5-baa3-778b53f4ae55",
        "paypal-transmission-time": new Date(at * 1000).toISOString(),
        "paypal-auth-algo": "SHA256withRSA",
        "paypal-cert-url": "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
      };
      const signer = createSign("RSA-SHA256").update(paypalBase(headers, key, request.body));
      return { ...headers, "paypal-transmission-sig": signer.sign(key.other ? other : rsa, "base64") };
    },
  },
  typeform: formula("typeform-signature", ({ body }, key) => `sha256=${hmac("sha256", key, body, "base64")}`),
  trello: formula("x-trello-webhook", ({ body, url }, key) => hmac("sha1", key, text(body) + url, "base64")),
  quickbooks: formula("intuit-signature", ({ body }, key) => hmac("sha256", key, body, "base64")),
  whatsapp: formula("x-hub-signature-256", ({ body }, key) => `sha256=${hmac("sha256", key, body, "hex")}`),
  jira: formula("x-hub-signature", ({ body }, key) => `sha256=${hmac("sha256", key, body, "hex")}`),
};

const keys = {};
const say = (object) => console.log(JSON.stringify(object));

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const path = request.url.split("?")[0];
  if (path === "/oauth2/v3/certs") return response.end(JSON.stringify({ keys: [jwk] }));
  if (path.startsWith("/v1/notifications/certs/")) return response.end(certificate);
  const name = path.slice(1);
  const url = `http://${request.headers.host}${request.url}`;
  let verified = false;
  let error = "";
  try {
    verified = await schemes[name].verify({ url, headers: request.headers, body: Buffer.concat(chunks) }, keys[name]);
  } catch (caught) {
    error = String(caught.message);
  }
  response.writeHead(verified ? 200 : 401).end(error);
});

const sign = async ({ scheme, url, body, body64, key, at, id }) => {
  const { query, sign } = schemes[scheme];
  const request = { url, body: body64 === undefined ? Buffer.from(body) : Buffer.from(body64, "base64") };
  if (query) {
    const called = new URL(url);
    for (const [name, value] of Object.entries(query(request))) called.searchParams.append(name, value);
    request.url = called.toString();
  }
  return { url: request.url, headers: await sign(request, key, at, id) };
};

server.listen(0, "127.0.0.1", () => {
  const version = (sdk) => {
    if (sdk === "the formula" || sdk === "node:crypto") return "";
    return JSON.parse(readFileSync(new URL(`node_modules/${sdk}/package.json`, import.meta.url))).version;
  };
  const sdks = Object.entries(schemes).map(([name, { sdk }]) => [name, { sdk, version: version(sdk) }]);
  say({ url: `http://127.0.0.1:${server.address().port}/`, sdks: Object.fromEntries(sdks) });
});

createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const wish = JSON.parse(line);
    if (wish.verify) keys[wish.verify] = wish.key;
    // Many at once: an answer for each, in their order.
    if (wish.batch) return say(await Promise.all(wish.batch.map((one) => sign({ ...one, scheme: one.sign }))));
    say(wish.sign ? await sign({ ...wish, scheme: wish.sign }) : {});
  })
  .on("close", () => process.exit(0));
