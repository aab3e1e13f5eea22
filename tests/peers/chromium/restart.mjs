// Chromium plays while its network changes, and Chromium publishes while its network changes: the
// longest gap between two pictures of the player, and by which requests it was bridged. At last the
// publisher's page sleeps while somebody else takes its path.
//
//   node restart.mjs --base http://127.0.0.1:8889
//
// The last line of stdout is JSON.

import { setTimeout as pause } from 'node:timers/promises';
import { launch, openPage, parametersFrom } from './browser.mjs';
import { relayed } from './relay.mjs';

const { base } = parametersFrom({ base: null }, 'usage: restart.mjs --base URL');
const PATIENCE_MS = 30000;
/** For how long pictures have to flow before a change, and after it. */
const FLOW_MS = 3000;
const PATH = 'moving';

const { browser, context: studio } = await launch({ base, context: { permissions: ['camera', 'microphone'] } });
const room = await browser.newContext();
await room.addInitScript(watchGaps);
const publisher = await opened(studio);
const player = await opened(room);
const changes = [];

/** A page behind a relay of its own, and the requests for sessions that it makes. */
async function opened(context) {
  const { page, complaints } = await openPage(context);
  const requests = [];
  page.on('response', (response) => {
    const method = response.request().method();
    if (/\/(whip|whep)(\/|$)/.test(new URL(response.url()).pathname) && ['POST', 'PATCH'].includes(method)) {
      requests.push(`${method} ${response.status()}`);
    }
  });
  return { context, page, complaints, requests, relay: await relayed(page) };
}

/** Lets `act` change something for one of the pages, waits until pictures flow again, and notes what that took. */
async function change(name, side, act, settled = async () => {}) {
  side.requests.length = 0;
  const before = await generation(side.page);
  await player.page.evaluate(() => { window.longestGapMs = 0; });
  await act(side);
  await settled(side);
  // A gap is known only by the picture that ends it.
  await player.page.evaluate(() => { window.flowsSince = performance.now(); });
  await flows();
  changes.push({
    name,
    gapMs: Math.round(await player.page.evaluate(() => window.longestGapMs)),
    requests: [...side.requests],
    otherCredentials: before !== await generation(side.page),
  });
}

/** The ufrag that the page's side of ICE goes by. */
const generation = (page) => page.evaluate(() => /a=ice-ufrag:(\S+)/.exec(window.kvill.pc?.localDescription?.sdp)?.[1] ?? '');

/** Pictures have come for a while without a second's gap. */
const flows = () => player.page.waitForFunction((ms) => performance.now() - window.flowsSince > ms, FLOW_MS, { timeout: PATIENCE_MS });

const answered = (method) => ({ requests }) => until(() => requests.some((request) => request.startsWith(method)));

async function until(what) {
  const end = Date.now() + PATIENCE_MS;
  while (!what()) {
    if (Date.now() > end) {
      throw new Error(`it did not come to pass: ${what}`);
    }
    await pause(20);
  }
}

/** The browser is told that it has no network, and soon that it has one again. */
async function offlineAndOnline({ context }) {
  await context.setOffline(true);
  await pause(300);
  await context.setOffline(false);
}

/** Somebody else takes the path while the publisher sleeps: awake again, its page does not take it back. */
async function takenOver() {
  const { page } = await openPage(studio);
  await page.goto(`${base}/${PATH}/publish?codec=VP8&bitrate=600&size=320x240`);
  await page.locator('#start:enabled').waitFor({ timeout: PATIENCE_MS });
  await publisher.page.route('**/whip/*', (route) => route.abort());
  publisher.relay.cut();
  await page.locator('#start').click();
  await page.locator('#state.live').waitFor({ timeout: PATIENCE_MS });
  await publisher.page.unroute('**/whip/*');
  await publisher.page.locator('text=Somebody else has taken over').waitFor({ timeout: PATIENCE_MS });
}

try {
  await publisher.page.goto(`${base}/${PATH}/publish?codec=VP8&bitrate=600&size=320x240`);
  await publisher.page.getByRole('button', { name: 'Start publishing' }).click();
  await publisher.page.locator('#state.live').waitFor({ timeout: PATIENCE_MS });
  await player.page.goto(`${base}/${PATH}/`);
  await flows();

  await change('nothing', player, () => pause(FLOW_MS));
  await change('the player’s browser is online again', player, offlineAndOnline, answered('PATCH'));
  await change('the publisher’s browser is online again', publisher, offlineAndOnline, answered('PATCH'));
  await change('the player’s way is lost', player, ({ relay }) => relay.cut(), answered('PATCH'));
  await change('the publisher’s way is lost', publisher, ({ relay }) => relay.cut(), answered('PATCH'));
  // Only HTTP is away: the session is not given up for that, and can be restarted later.
  await player.page.route('**/whep/*', (route) => route.abort());
  await change('the player’s HTTP is gone', player, offlineAndOnline, () => pause(8000));
  await player.page.unroute('**/whep/*');
  await change('the player’s HTTP is back', player, offlineAndOnline, answered('PATCH'));
  // The server has forgotten the session: a new one it is.
  await player.page.route('**/whep/*', (route) => (route.request().method() === 'PATCH' ? route.fulfill({ status: 404 }) : route.fallback()));
  await change('the player’s session is gone', player, offlineAndOnline, answered('POST'));
  await takenOver();
  console.log(JSON.stringify({ changes }));
} catch (error) {
  const seen = async ({ page, requests, complaints }) =>
    `${(await page.locator('body').innerText().catch(() => '')).replace(/\s+/g, ' ')} (${requests}) ${complaints.join('; ')}`;
  throw new Error(`${error.message}\n  so far: ${JSON.stringify(changes)}\n  publish page: ${await seen(publisher)}\n  play page: ${await seen(player)}`);
} finally {
  await browser.close();
  publisher.relay.close();
  player.relay.close();
}

/** Runs within the page before anything else: notes the longest gap between two pictures, and since when there was none to speak of. */
function watchGaps() {
  window.longestGapMs = 0;
  window.flowsSince = Infinity;
  let last = -Infinity;
  const onPicture = (now) => {
    const gap = now - last;
    last = now;
    if (gap > 1000) {
      window.flowsSince = now;
    }
    if (gap < Infinity) {
      window.longestGapMs = Math.max(window.longestGapMs, gap);
    }
    document.querySelector('video').requestVideoFrameCallback(onPicture);
  };
  // Between two pictures nobody is called: so the silence is looked for as well.
  setInterval(() => {
    if (performance.now() - last > 1000) {
      window.flowsSince = Infinity;
    }
  }, 100);
  addEventListener('DOMContentLoaded', () => document.querySelector('video')?.requestVideoFrameCallback(onPicture));
}
