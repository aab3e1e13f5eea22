// Opens the three pages as they look on a desk and on a phone, by day and by night, live and
// failing; takes their pictures, and notes every complaint on their consoles.
//
//   node pages.mjs --base http://127.0.0.1:8889 --out FOLDER
//
// The pictures are for people to look at. The last line of stdout is JSON for the test.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { launch, openPage, parametersFrom } from './browser.mjs';

const { base, out } = parametersFrom({ base: null, out: null }, 'usage: pages.mjs --base URL --out FOLDER');
const LOOKS = {
  'desk-light': { viewport: { width: 1280, height: 800 }, colorScheme: 'light' },
  'desk-dark': { viewport: { width: 1280, height: 800 }, colorScheme: 'dark' },
  'phone-light': { viewport: { width: 360, height: 740 }, colorScheme: 'light', deviceScaleFactor: 2, hasTouch: true },
  'phone-dark': { viewport: { width: 360, height: 740 }, colorScheme: 'dark', deviceScaleFactor: 2, hasTouch: true },
};
const PATIENCE_MS = 20000;
const NAME = 'garden/pond';
/** A name of the server that makes its pages insecure ones, as a machine in the next room has. */
const ELSEWHERE = 'kvill.test';

await mkdir(out, { recursive: true });
const { browser } = await launch({ base });
const pages = [];

/**
 * Opens `url` in one look, lets `prepare` and `act` do something before and after, waits until `ready`
 * is seen, takes the picture. `failing`: some of the page's requests are meant to fail. `page`
 * stays open where `keep` says so, and is given back.
 */
async function shot(look, name, url, ready, { by = browser, permissions = ['camera', 'microphone'], prepare, act, failing = false, keep = false } = {}) {
  const context = await by.newContext({ ...LOOKS[look], permissions });
  const { page, complaints } = await openPage(context);
  try {
    await prepare?.(page);
    await page.goto(new URL(url, base).href);
    await act?.(page);
    await page.locator(ready).first().waitFor({ timeout: PATIENCE_MS });
    await page.waitForTimeout(300);
    await lookAt(page, complaints, name, look, failing);
    return page;
  } catch (error) {
    const seen = (await page.locator('body').innerText()).replace(/\s+/g, ' ');
    throw new Error(`${name} (${look}): ${error.message}\n  page: ${seen}\n  console: ${complaints.join('; ') || 'silent'}`);
  } finally {
    if (!keep) {
      await context.close();
    }
  }
}

/** Takes the picture, and notes what may be wrong with the page. */
async function lookAt(page, complaints, name, look, failing) {
  const widthOver = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  // What a person or a screen reader would not find: fields and buttons without a name.
  const nameless = await page.evaluate(() => [...document.querySelectorAll('button, a, input, select')]
    .filter((element) => element.offsetParent !== null)
    .filter((element) => !(element.innerText || element.labels?.[0]?.innerText || element.getAttribute('aria-label'))?.trim())
    .map((element) => element.outerHTML.slice(0, 80)));
  // What stays at the foot of a window would hide the middle of a whole page.
  const fullPage = !(look.startsWith('phone') && name.startsWith('publish'));
  await page.screenshot({ path: join(out, `${name}-${look}.png`), fullPage });
  // A browser notes every request that fails: no fault of a page that is to live with it.
  const faults = complaints.filter((words) => !(failing && words.startsWith('Failed to load resource')));
  pages.push({ name, look, complaints: faults, widthOver, nameless });
}

/** Where the browser plays no sound before a click, the picture plays nevertheless, and a button brings the sound. */
async function unmute() {
  const strict = await launch({ base, media: false, autoplay: false, context: LOOKS['phone-light'] });
  try {
    const { page, complaints } = await openPage(strict.context);
    // Playwright looks into pages on a person's behalf, which counts as a click: so the page has to say by itself.
    await page.addInitScript(() => document.addEventListener('playing', () => console.debug('it plays'), true));
    const plays = page.waitForEvent('console', { predicate: (message) => message.text() === 'it plays', timeout: PATIENCE_MS });
    await page.goto(`${base}/${NAME}/`);
    await plays;
    await page.screenshot({ path: join(out, 'play-muted-phone-light.png') });
    await page.getByRole('button', { name: 'Unmute' }).click();
    await page.waitForFunction(() => !document.querySelector('video').muted, null, { timeout: PATIENCE_MS });
    await page.getByRole('button', { name: 'Unmute' }).waitFor({ state: 'hidden', timeout: PATIENCE_MS });
    pages.push({ name: 'play-muted', look: 'phone-light', complaints, widthOver: 0, nameless: [] });
  } finally {
    await strict.browser.close();
  }
}

const clickStart = (page) => page.getByRole('button', { name: 'Start publishing' }).click();

/** The server is gone once the page is there. */
const goneAfterwards = (page) => page.route('**/*', (route) =>
  (['document', 'script'].includes(route.request().resourceType()) ? route.continue() : route.abort()));

/** The server answers requests for sessions so. */
const answered = (status, error) => (page) => page.route(({ pathname }) => /\/(whip|whep)$/.test(pathname), (route) =>
  (route.request().method() === 'POST' ? route.fulfill({ status, json: { status: 'error', error } }) : route.continue()));

/** A browser that knows nothing but AV1. */
const onlyAv1 = (page) => page.addInitScript(() => {
  const { addTransceiver } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.addTransceiver = function add(kind, init) {
    const transceiver = addTransceiver.call(this, kind, init);
    if (kind === 'video') {
      transceiver.setCodecPreferences(RTCRtpReceiver.getCapabilities('video').codecs.filter(({ mimeType }) => mimeType === 'video/AV1'));
    }
    return transceiver;
  };
});

/** The way of media is barred: what the server offers leads nowhere. */
const noWay = (page) => page.addInitScript(() => {
  const { setRemoteDescription } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.setRemoteDescription = function set({ type, sdp }) {
    return setRemoteDescription.call(this, { type, sdp: sdp.replace(/^(a=candidate:(?:\S+ ){5})\d+/gm, '$19') });
  };
});

/** Several at once: most of the time is waiting. */
const everyLook = (looks, see) => Promise.all(looks.map(see));
const bothLooks = ['desk-light', 'phone-dark'];
const notice = '#notice:not([hidden])';
const poor = await launch({ base, media: false, granted: false, hosts: [ELSEWHERE] });
const strict = await launch({ base, granted: false });
const elsewhere = base.replace(new URL(base).hostname, ELSEWHERE);

try {
  // Takes ten seconds, in which there is much else to see.
  const barred = shot('desk-dark', 'publish-no-way', '/barred/publish', notice, { prepare: noWay, act: clickStart });
  await everyLook(Object.keys(LOOKS), async (look) => {
    await shot(look, 'index-empty', '/', '#empty:not([hidden])');
    await shot(look, 'publish', `/${NAME}/publish`, '#start:enabled');
    await shot(look, 'play-nobody', `/${NAME}/`, 'text=Nobody is live here yet', { failing: true });
  });
  await everyLook(bothLooks, async (look) => {
    const gone = { failing: true, prepare: goneAfterwards };
    await shot(look, 'index-gone', '/', notice, gone);
    await shot(look, 'play-gone', `/${NAME}/`, 'text=The server does not answer', gone);
    await shot(look, 'publish-gone', `/${NAME}/publish?size=320x240`, notice, { ...gone, act: clickStart });
    await shot(look, 'publish-nothing', `/${NAME}/publish?devices=none`, notice, { act: clickStart });
    const full = { failing: true, prepare: answered(503, 'this server is full (20000 sessions): retry later, or raise its limit') };
    await shot(look, 'play-full', `/${NAME}/`, 'text=The server has no place just now', full);
    await shot(look, 'publish-full', `/${NAME}/publish`, notice, { ...full, act: clickStart });
    const without = { by: poor.browser, permissions: [] };
    await shot(look, 'publish-insecure', `${elsewhere}/${NAME}/publish`, notice, without);
    await shot(look, 'publish-no-camera', `/${NAME}/publish`, 'text=No camera was found', without);
    await shot(look, 'publish-denied', `/${NAME}/publish`, notice, { by: strict.browser, permissions: [], act: clickStart });
  });
  await barred;

  // And now somebody is.
  const live = { act: clickStart, keep: true };
  const publishUrl = `/${NAME}/publish?codec=VP8&size=640x480&bitrate=600`;
  const publisher = await shot('desk-dark', 'publish-live', publishUrl, '#figures:not(:empty)', live);
  const lost = shot('phone-light', 'play-no-way', `/${NAME}/`, 'text=The picture cannot get through', { prepare: noWay });
  await everyLook(Object.keys(LOOKS), async (look) => {
    await shot(look, 'index-live', '/', '.path');
    await shot(look, 'play-live', `/${NAME}/`, 'body.playing');
  });
  await unmute();
  await shot('phone-light', 'play-click', `/${NAME}/?autoplay=false&controls=false`, 'text=Play');
  await everyLook(bothLooks, (look) =>
    shot(look, 'play-codec', `/${NAME}/`, 'text=This browser cannot play the stream', { failing: true, prepare: onlyAv1 }));
  await lost;

  // Somebody else takes over, and the page that was live says so instead of taking it back.
  const player = await shot('phone-dark', 'play-live', `/${NAME}/`, 'body.playing', { keep: true });
  const other = await shot('phone-light', 'publish-live', publishUrl, '#figures:not(:empty)', live);
  await publisher.locator('text=Somebody else has taken over').waitFor({ timeout: PATIENCE_MS });
  await lookAt(publisher, [], 'publish-replaced', 'desk-dark', true);
  await player.waitForFunction(() => document.body.classList.contains('playing'), null, { timeout: PATIENCE_MS });
  await other.getByRole('button', { name: 'Stop publishing' }).click();
  await player.locator('#message').waitFor({ timeout: PATIENCE_MS });
  await lookAt(player, [], 'play-ended', 'phone-dark', true);
} finally {
  await Promise.all([browser, poor.browser, strict.browser].map((each) => each.close()));
}
console.log(JSON.stringify({ pages }));
