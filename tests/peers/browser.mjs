#!/usr/bin/env node
// Opens a URL in a real headless Chromium, clicks, and says on which page it ended. See README.md.
//
//   browser.mjs URL [--click SELECTOR]... [--screenshot FILE]
//
// As BROWSER it is called with the URL alone: BROWSER_CLICK holds the selectors, one a line, BROWSER_SCREENSHOT the file,
// BROWSER_LOG a file that gets the same JSON line as stdout.

import { appendFileSync } from 'node:fs';
import { chromium } from 'playwright-core';

const BOUND_MS = 30_000;
const LOOPBACK = /^(127\.\d+\.\d+\.\d+|localhost|\[::1\])$/;

function readArguments(argv) {
  const wanted = {
    url: undefined,
    clicks: (process.env.BROWSER_CLICK ?? '').split('\n').filter(Boolean),
    screenshot: process.env.BROWSER_SCREENSHOT,
  };
  const rest = [...argv];
  while (rest.length) {
    const word = rest.shift();
    if (word === '--click' && rest.length) wanted.clicks.push(rest.shift());
    else if (word === '--screenshot' && rest.length) wanted.screenshot = rest.shift();
    else if (word.startsWith('--') || wanted.url) wanted.url = null;
    else wanted.url = word;
  }
  if (!wanted.url) {
    process.stderr.write('usage: browser.mjs URL [--click SELECTOR]... [--screenshot FILE]\n');
    process.exit(2);
  }
  return wanted;
}

/** Where the flow ends: the redirect_uri that the URL names, when it is on loopback. */
function callbackOf(url) {
  if (!URL.canParse(url)) return undefined;
  const named = new URL(url).searchParams.get('redirect_uri');
  if (!URL.canParse(named ?? '')) return undefined;
  const callback = new URL(named);
  return LOOPBACK.test(callback.hostname) ? callback : undefined;
}

function report(result) {
  const line = `${JSON.stringify(result)}\n`;
  process.stdout.write(line);
  if (process.env.BROWSER_LOG) appendFileSync(process.env.BROWSER_LOG, line);
}

const { url, clicks, screenshot } = readArguments(process.argv.slice(2));
let callback = callbackOf(url);
const atCallback = (place) => {
  const here = new URL(place);
  return here.origin === callback.origin && here.pathname === callback.pathname;
};

const deadline = Date.now() + BOUND_MS;
const left = () => Math.max(1, deadline - Date.now());
const watchdog = setTimeout(() => {
  report({ ok: false, error: `nothing after ${BOUND_MS / 1000} s` });
  process.exit(1);
}, BOUND_MS + 2_000);

let browser;
let result = { ok: false };
try {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
    timeout: left(),
  });
  const page = await browser.newPage();
  const visited = [];
  page.on('response', (response) => {
    if (response.frame() === page.mainFrame() && response.request().isNavigationRequest()) {
      visited.push({ url: response.url(), status: response.status(), headers: response.headers() });
    }
  });
  const messages = [];
  page.on('console', (message) => messages.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => messages.push(`error: ${error.message}`));

  await page.goto(url, { timeout: left(), waitUntil: 'load' });
  // The first page may be the caller's own, which leads to the server's.
  callback ??= visited.map((response) => callbackOf(response.url)).find(Boolean);
  for (const selector of clicks) await page.click(selector, { timeout: left() });
  if (callback) await page.waitForURL((place) => atCallback(place.href), { timeout: left(), waitUntil: 'load' });
  await page.waitForLoadState('networkidle', { timeout: left() });

  const last = visited.findLast((response) => response.url === page.url()) ?? visited.at(-1);
  result = {
    ok: last.status < 400,
    status: last.status,
    url: page.url(),
    title: await page.title(),
    text: (await page.locator('body').innerText({ timeout: left() })).trim(),
    headers: last.headers,
    visited: visited.map(({ url: place, status }) => ({ url: place, status })),
    console: messages,
  };
  if (screenshot) await page.screenshot({ path: screenshot, fullPage: true, timeout: left() });
} catch (error) {
  result = { ...result, ok: false, error: error.message.split('\n')[0] };
} finally {
  await browser?.close().catch(() => {});
}
clearTimeout(watchdog);
report(result);
process.exitCode = result.ok ? 0 : 1;
