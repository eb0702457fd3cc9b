#!/usr/bin/env node
// Uses the dashboard of a running server as a person does, in a real headless Chromium, and says what it found as JSON.
//
//   dashboard.mjs LINK FLOW [--no-script] [--screenshots FOLDER] [--url URL]
//
// LINK is what `integ dashboard link` prints; FLOW is one of the functions below. With --no-script, the browser runs no scripts.
// `visit` opens every page that links lead to: axe looks for what keeps people from using it, and the width of the window for
// what overflows it, at three widths, in light and dark.

import { readFileSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const BOUND_MS = 240_000;
const WAIT = { timeout: 15_000 };
const MAX_PAGES = 90;
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const WIDTHS = [390, 1280, 1920];

const [link, wanted, ...options] = process.argv.slice(2);
const option = (name) => (options.includes(name) ? options[options.indexOf(name) + 1] : undefined);
const folder = option('--screenshots');
const hasScript = !options.includes('--no-script');
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

/** Waits until the page says something. */
async function see(page, text) {
  await page.getByText(text).first().waitFor(WAIT);
  steps.push(String(text));
}

/** Allows on the consent page of the sandbox, which is another server. */
async function consent(page, origin) {
  if (!hasScript) await page.getByRole('link', { name: 'Continue' }).click(WAIT).catch(() => {});
  await page.waitForURL((url) => url.origin !== origin || url.pathname.includes('/sandbox/'), WAIT);
  await page.locator('button[value=allow], button.allow').first().click(WAIT);
}

/** Pictures of the present page, in both widths and schemes. */
async function pictures(page, name) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    for (const width of WIDTHS.slice(0, 2)) {
      await page.setViewportSize({ width, height: 900 });
      await page.screenshot({ path: `${folder}/${name}-${width}-${colorScheme}.png`, fullPage: true });
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 1280, height: 800 });
}

const button = (page, name) => page.getByRole('button', { name, exact: typeof name === 'string' });

const flows = {
  async connect(page, origin) {
    await see(page, 'No connections yet');
    await page.getByRole('link', { name: 'Choose a service' }).click();
    await page.getByRole('searchbox').fill('slack');
    await page.keyboard.press('Enter');
    await page.getByRole('link', { name: 'Slack', exact: true }).click();
    await button(page, 'Connect in the sandbox').click();
    await consent(page, origin);
    await see(page, 'slack is connected');
    await page.getByRole('link', { name: 'Open the connection' }).click();
    await see(page, 'active');
  },

  async test(page, origin) {
    await page.goto(`${origin}/dashboard/connections/slack`);
    await button(page, 'Test').click();
    await see(page, 'slack works');
  },

  async together(page) {
    await page.getByLabel('Choose slack').check();
    await page.getByLabel('Choose stripe').check();
    await page.locator('#chosen').getByRole('button', { name: 'Test' }).click();
    await see(page, /slack works.*stripe works/);
    await page.getByLabel('Choose slack').check();
    await page.getByLabel('Choose stripe').check();
    await button(page, 'Disconnect…').click();
    await see(page, 'Disconnect 2 connections?');
    if (folder) await pictures(page, 'dashboard-disconnect-several');
    await page.getByLabel('stripe', { exact: true }).uncheck();
    await button(page, 'Disconnect 2 connections').click();
    await see(page, 'Disconnected slack');
    await page.getByRole('link', { name: 'stripe', exact: true }).waitFor(WAIT);
  },

  async sync(page, origin) {
    await page.goto(`${origin}/dashboard/connections/slack/data`);
    await button(page, 'Sync users').click();
    await see(page, /Synced 1 stream/);
    await page.goto(`${origin}/dashboard/connections/slack/streams/users`);
    await see(page, 'Download CSV');
  },

  // In another window, the list of events shows the new one by itself.
  async event(page, origin) {
    await page.goto(`${origin}/dashboard/connections/slack/webhooks`);
    await button(page, 'Send').click();
    await see(page, /Sent 1 event/);
    const live = await page.context().newPage();
    await live.goto(`${origin}/dashboard/events`);
    if (hasScript) await live.locator('.live.on').waitFor(WAIT);
    const before = await live.locator('tbody tr').count();
    await button(page, 'Send').click();
    await see(page, /Sent 1 event/);
    if (hasScript) {
      const isMore = (count) => document.querySelectorAll('tbody tr').length > count;
      await live.waitForFunction(isMore, before, WAIT);
    } else {
      await live.reload();
      if ((await live.locator('tbody tr').count()) <= before) throw new Error('the event is not in the list');
    }
    steps.push('an event arrived');
    await live.locator('tbody tr a').first().click();
    await see(live, 'Payload');
    await button(live, 'Handle again').click();
    await see(live, /Queued.* to be handled again/);
    await live.close();
  },

  async binding(page, origin) {
    await page.goto(`${origin}/dashboard/bindings/person`);
    const text = await page.getByLabel('Text').inputValue();
    await page.getByLabel('Text').fill(text.replace('phone? =', 'number? ='));
    await button(page, 'Preview').click();
    await see(page, 'Nothing is stored yet');
    await see(page, 'number');
    await page.goto(`${origin}/dashboard/bindings/person`);
    await page.getByLabel('Text').fill(`${text}\n= wrong`);
    await button(page, 'Store').click();
    if (hasScript) {
      await page.locator('.formnote:not(:empty)').waitFor(WAIT);
      const chosen = await page.evaluate(() => String(getSelection()) || (({ value, selectionStart, selectionEnd }) => value.slice(selectionStart, selectionEnd))(document.querySelector('textarea')));
      if (chosen !== '= wrong') throw new Error(`the wrong line is not selected, but ${JSON.stringify(chosen)}`);
    } else {
      await page.locator('.lines .wrong').waitFor(WAIT);
    }
    steps.push('a mistake is shown at its line');
    await page.goto(`${origin}/dashboard/bindings/person`);
    await page.getByLabel('Text').fill(text.replace('phone? =', 'number? ='));
    await button(page, 'Store').click();
    await see(page, 'Stored the binding');
  },

  async reconnect(page, origin) {
    await page.goto(`${origin}/dashboard/connections/slack`);
    await button(page, 'Refresh token').click();
    await see(page, /needs to be reconnected|needs reauth/);
    await page.goto(`${origin}/dashboard/connections`);
    await see(page, 'needs reauth');
    await page.getByRole('link', { name: 'Reconnect' }).first().click();
    await button(page, 'Continue').click();
    await consent(page, origin);
    await see(page, 'slack is connected');
    await page.goto(`${origin}/dashboard/connections`);
    await see(page, 'active');
  },

  async conflict(page, origin) {
    await page.goto(`${origin}/dashboard/bindings`);
    await see(page, 'Conflicts');
    await button(page, 'Keep theirs phone').click();
    await see(page, 'Resolved the conflict');
  },

  async appointment(page, origin) {
    await page.goto(`${origin}/dashboard/calendar`);
    await page.getByRole('link', { name: 'New appointment' }).click();
    const fill = async (title, start) => {
      await page.getByLabel('Title').fill(title);
      await page.getByLabel('Start', { exact: true }).fill(start);
      await button(page, 'Check the time').click();
    };
    await fill('Dentist', '2031-03-05T09:00');
    await see(page, 'All calendars are free');
    await button(page, 'Create').click();
    await see(page, 'Created Dentist');
    await page.goto(`${origin}/dashboard/calendar/new`);
    await fill('Review', '2031-03-05T09:15');
    await see(page, 'At this time there is also');
    await button(page, 'Create all the same').click();
    await see(page, 'Created Review');
    await see(page, '1 conflict');
    await page.getByRole('link', { name: /Review/ }).first().click();
    await fill('Review', '2031-03-05T11:00');
    await button(page, 'Save').click();
    await see(page, 'Saved Review');
    if ((await page.locator('.event.conflict').count()) > 0) throw new Error('the moved appointment is still in conflict');
    await page.getByRole('link', { name: /Review/ }).first().click();
    await button(page, 'Delete').click();
    await see(page, 'Deleted Review');
    await page.goto(`${origin}/dashboard/calendar/new`);
    await page.getByLabel('Whole days').check();
    await page.getByLabel('Days', { exact: true }).fill('2');
    await fill('Fair', '2031-03-06T09:00');
    await see(page, 'All calendars are free');
    await button(page, 'Create').click();
    await see(page, 'Created Fair');
    if ((await page.locator('.event.allday', { hasText: 'Fair' }).count()) !== 2) throw new Error('the fair is not on two days');
    if (folder) await pictures(page, 'dashboard-calendar-whole-days');
    await page.locator('.event.allday', { hasText: 'Fair' }).first().click();
    await page.getByLabel('Whole days').uncheck();
    await fill('Fair', '2031-03-06T10:00');
    await button(page, 'Save').click();
    await see(page, 'Saved Fair');
    if ((await page.locator('.event.allday').count()) !== 0) throw new Error('the moved fair is still on whole days');
  },

  async connectLink(page, origin) {
    await page.goto(`${origin}/dashboard/connect-links`);
    await page.getByLabel('Service').selectOption('slack');
    await page.getByLabel('Use the sandbox').check();
    await button(page, 'Create').click();
    await see(page, 'Connect link created');
    const url = await page.locator('main code').first().textContent();
    const other = await page.context().newPage();
    await other.goto(url);
    await consent(other, '');
    await other.waitForLoadState();
    await page.goto(`${origin}/dashboard/connections`);
    await see(page, 'slack');
    await page.goto(`${origin}/dashboard/connect-links`);
    await see(page, 'used');
  },

  async install(page, origin) {
    await page.goto(`${origin}/dashboard/connectors`);
    await page.getByLabel("URL of the connector's file").fill(option('--url'));
    await button(page, 'Review').click();
    await see(page, 'Install Acme?');
    await see(page, 'us.acme.invalid');
    await button(page, 'Install').click();
    await see(page, 'Installed acme.');
    await page.getByLabel('Region').fill('eu');
    await button(page, 'Save').click();
    await see(page, 'Saved the configuration');
    if ((await page.getByLabel('Region').inputValue()) !== 'eu') throw new Error('the region is not stored');
    await button(page, 'Uninstall').click();
    await see(page, 'Uninstalled acme.');
  },

  async app(page, origin) {
    await page.goto(`${origin}/dashboard/connect/github?mode=live`);
    await page.getByLabel('Client ID').fill('my-app');
    await page.getByLabel('Client secret').fill('a-secret-of-mine');
    await button(page, 'Store the app').click();
    await see(page, 'Stored the app my-app');
    await page.goto(`${origin}/dashboard/connect/github?mode=live`);
    await see(page, 'is registered');
    if ((await page.content()).includes('a-secret-of-mine')) throw new Error('the secret is on the page');
  },

  async token(page, origin) {
    await page.goto(`${origin}/dashboard/api-tokens/new`);
    await page.getByLabel('Name', { exact: true }).fill('deploy');
    await page.getByLabel(/connections:read/).check();
    await button(page, /Create/).click();
    await page.getByRole('heading', { name: 'Token created' }).waitFor(WAIT);
    await see(page, /integ_/);
    await page.goto(`${origin}/dashboard/api-tokens`);
    await page.getByRole('link', { name: 'deploy' }).click();
    await button(page, 'Revoke').click();
    await see(page, /Revoked 1 token/);
  },

  // A refusal is shown beside the form, and what was typed stays.
  async refusal(page, origin) {
    await page.goto(`${origin}/dashboard/connections/slack/settings`);
    await page.getByLabel('New name').fill('not a name!');
    await button(page, 'Rename').click();
    await page.locator('.formnote:not(:empty)').waitFor(WAIT);
    if ((await page.getByLabel('New name').inputValue()) !== 'not a name!') throw new Error('the form lost its text');
    steps.push('a refusal left the form as it was');
  },

  async disconnect(page, origin) {
    await page.goto(`${origin}/dashboard/connections/slack/settings`);
    await page.getByRole('link', { name: 'Disconnect…' }).click();
    await see(page, 'This cannot be undone');
    await button(page, 'Disconnect slack').click();
    await see(page, /Disconnected slack/);
  },

  // Only keys: to a connection, its test, and back out of the dashboard.
  async keyboard(page) {
    const reach = async (role, name) => {
      const target = page.getByRole(role, { name, exact: true }).first();
      await target.waitFor(WAIT);
      for (let presses = 0; presses < 120; presses += 1) {
        await page.keyboard.press('Tab');
        if (await target.evaluate((element) => element === document.activeElement)) {
          const outline = await target.evaluate((element) => getComputedStyle(element).outlineStyle);
          if (outline === 'none') throw new Error(`the focus of ${name} cannot be seen`);
          return;
        }
      }
      throw new Error(`keys do not reach ${name}`);
    };
    await reach('link', 'Skip to the content');
    await page.keyboard.press('Enter');
    await reach('link', 'slack');
    await page.keyboard.press('Enter');
    await reach('button', 'Test');
    await page.keyboard.press('Enter');
    await see(page, 'slack works');
    await reach('button', 'Sign out');
    await page.keyboard.press('Enter');
    await see(page, 'Signed out');
  },

  visit,
};

async function visit(page, origin) {
  const waiting = ['/dashboard', '/dashboard/connect/github?mode=live', '/dashboard/calendar/new'];
  const seen = new Set();
  const kinds = new Map();
  while (waiting.length && seen.size < MAX_PAGES) {
    const path = waiting.shift().split('#')[0];
    const kind = path.split('?')[0] + (path.includes('mode=live') ? '-live' : '');
    if (seen.has(kind) || /assets|\.csv$|\.parquet$|\/body$|\/docs/.test(path)) continue;
    // A few of each of the pages that are alike.
    const alike = kind.split('/').slice(0, 3).join('/');
    kinds.set(alike, (kinds.get(alike) ?? 0) + 1);
    if (kinds.get(alike) > (alike.endsWith('/connections') ? 16 : 4)) continue;
    seen.add(kind);
    await page.setViewportSize({ width: 1280, height: 800 });
    const started = Date.now();
    await page.goto(origin + path, { waitUntil: 'load' });
    const isPainted = () => performance.getEntriesByName('first-contentful-paint').length > 0;
    await page.waitForFunction(isPainted, null, { timeout: 3_000 }).catch(() => {});
    const cost = await page.evaluate(() => {
      const files = performance.getEntriesByType('resource');
      const [document] = performance.getEntriesByType('navigation');
      const paint = performance.getEntriesByName('first-contentful-paint')[0];
      const bytes = files.reduce((sum, file) => sum + file.decodedBodySize, document.decodedBodySize);
      return { first_paint_ms: Math.round(paint?.startTime ?? 0), requests: files.length + 1, bytes };
    });
    found.pages.push({ path, ms: Date.now() - started, ...cost });
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
  const flow = flows[wanted];
  if (!flow) throw new Error(`usage: dashboard.mjs LINK ${Object.keys(flows).join('|')}`);
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
  });
  const context = await browser.newContext({ javaScriptEnabled: hasScript, reducedMotion: 'reduce' });
  const watch = (page) => {
    page.on('console', (message) => {
      // The browser itself reports the status of a request that is refused on purpose.
      if (message.type() === 'error' && !/status of 4\d\d/.test(message.text())) found.console.push(message.text());
    });
    page.on('pageerror', (error) => found.console.push(error.message));
  };
  context.on('page', watch);
  const page = await context.newPage();
  const { origin } = new URL(link);
  await page.goto(link);
  await button(page, 'Sign in').click();
  await page.waitForURL(/\/dashboard(\/connections)?$/, WAIT);
  await flow(page, origin);
  await finish();
} catch (error) {
  await finish(error.message.split('\n').slice(0, 6).join(' '));
}
