#!/usr/bin/env node
// Uses the dashboard of a running server as a person does, in a real headless Chromium, and says what it found as JSON.
//
//   dashboard.mjs LINK [--screenshots FOLDER]
//
// LINK is what `integ dashboard link` prints. The person signs in, connects a sandbox Slack through its consent page, tests and
// syncs it, simulates an event and sees it arrive, and disconnects. On every page that links lead to, axe looks for what keeps
// people from using it, and the width of the window for what overflows it.

import { readFileSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const BOUND_MS = 120_000;
const MAX_PAGES = 60;
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const WIDTHS = [390, 1280, 1920];

const [link, flag, folder] = process.argv.slice(2);
if (!link || (flag && flag !== '--screenshots')) {
  process.stderr.write('usage: dashboard.mjs LINK [--screenshots FOLDER]\n');
  process.exit(2);
}
if (folder) mkdirSync(folder, { recursive: true });

const steps = [];
const found = { console: [], violations: [], overflow: [], pages: [] };
const watchdog = setTimeout(() => finish(`nothing after ${BOUND_MS / 1000} s`), BOUND_MS);
let browser;

async function finish(error) {
  clearTimeout(watchdog);
  process.stdout.write(`${JSON.stringify({ ok: !error, error, steps, ...found })}\n`);
  await browser?.close().catch(() => {});
  process.exit(error ? 1 : 0);
}

/** What the page says once it is `wanted`. */
async function see(page, wanted) {
  await page.getByText(wanted).first().waitFor({ timeout: 15_000 });
  steps.push(String(wanted));
}

async function person(page, origin) {
  await page.goto(link);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await see(page, 'No connections yet');

  await page.getByRole('link', { name: 'Choose a service' }).click();
  await page.getByRole('searchbox').fill('slack');
  await page.keyboard.press('Enter');
  await page.getByRole('link', { name: 'Slack', exact: true }).click();
  await page.getByRole('button', { name: 'Connect in the sandbox' }).click();
  await page.waitForURL((url) => url.origin !== origin, { timeout: 15_000 });
  await page.locator('button[value=allow], button.allow').first().click();
  await see(page, 'slack is connected');
  await page.getByRole('link', { name: 'Open the connection' }).click();
  await see(page, 'active');

  await page.getByRole('button', { name: 'Test', exact: true }).click();
  await see(page, 'slack works');
  await page.getByRole('link', { name: 'Data' }).click();
  await page.getByRole('button', { name: 'Sync users' }).click();
  await see(page, /Synced 1 streams/);

  // In another window, the list of events shows the new one by itself.
  const list = await page.context().newPage();
  await list.goto(`${origin}/dashboard/events?connection=slack`);
  await page.goto(`${origin}/dashboard/connections/slack/webhooks`);
  await page.getByRole('button', { name: 'Send', exact: true }).click();
  await see(page, /Sent 1 events/);
  await list.close();
  const live = await page.context().newPage();
  await live.goto(`${origin}/dashboard/events`);
  await live.locator('.live.on').waitFor({ timeout: 15_000 });
  const before = await live.locator('tbody tr').count();
  await page.getByRole('button', { name: 'Send', exact: true }).click();
  await see(page, /Sent 1 events/);
  await live.waitForFunction((count) => document.querySelectorAll('tbody tr').length > count, before, { timeout: 15_000 });
  steps.push('an event arrived live');
  await live.close();

  // A refusal is shown beside the form, and what was typed stays.
  await page.goto(`${origin}/dashboard/connections/slack/settings`);
  await page.getByLabel('New name').fill('not a name!');
  await page.getByRole('button', { name: 'Rename' }).click();
  await page.locator('.formnote:not(:empty)').waitFor({ timeout: 15_000 });
  if ((await page.getByLabel('New name').inputValue()) !== 'not a name!') throw new Error('the form lost its text');
  steps.push('a refusal left the form as it was');
}

async function visit(page, origin) {
  const waiting = ['/dashboard'];
  const seen = new Set();
  while (waiting.length && seen.size < MAX_PAGES) {
    const path = waiting.shift();
    const kind = path.split('?')[0];
    if (seen.has(kind) || /assets|\.csv$|\/body$|\/docs/.test(path)) continue;
    seen.add(kind);
    await page.setViewportSize({ width: 1280, height: 800 });
    const started = Date.now();
    await page.goto(origin + path, { waitUntil: 'load' });
    found.pages.push({ path, ms: Date.now() - started });
    const name = kind.replace(/[^a-z0-9]+/gi, '-').replace(/^-|-$/g, '');
    for (const scheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme: scheme });
      for (const width of WIDTHS) {
        await page.setViewportSize({ width, height: 900 });
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        if (wide > 0) found.overflow.push({ path, width, by: wide });
        if (folder) await page.screenshot({ path: `${folder}/${name}-${width}-${scheme}.png`, fullPage: width !== 1920 });
      }
      // The policy of the page lets no script in; axe runs in the browser's own name.
      await page.setViewportSize({ width: 1280, height: 800 });
      const results = await page.evaluate(`${AXE}; axe.run(document, { resultTypes: ['violations'] })`);
      for (const { id, impact, nodes } of results.violations) {
        if (impact === 'serious' || impact === 'critical') {
          found.violations.push({ path, scheme, id, target: nodes[0].target.join(' '), why: nodes[0].failureSummary });
        }
      }
    }
    const links = await page.evaluate(() => [...document.querySelectorAll('a[href]')].map((a) => a.href));
    waiting.push(...links.filter((href) => href.startsWith(`${origin}/dashboard`)).map((href) => href.slice(origin.length)));
  }
}

try {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
  });
  const context = await browser.newContext();
  const page = await context.newPage();
  const watch = (page) => {
    page.on('console', (message) => {
      // The browser itself reports the status of a request that is refused on purpose.
      if (message.type() === 'error' && !/status of 400/.test(message.text())) found.console.push(message.text());
    });
    page.on('pageerror', (error) => found.console.push(error.message));
  };
  context.on('page', watch);
  watch(page);
  const { origin } = new URL(link);
  await person(page, origin);
  await visit(page, origin);
  await page.emulateMedia({ colorScheme: 'light' });
  await page.goto(`${origin}/dashboard/connections/slack/disconnect`);
  await page.getByRole('button', { name: 'Disconnect slack' }).click();
  await see(page, /Disconnected slack/);
  await finish();
} catch (error) {
  await finish(error.message.split('\n').slice(0, 3).join(' '));
}
