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
  'phone-light': { viewport: { width: 390, height: 844 }, colorScheme: 'light', deviceScaleFactor: 2, hasTouch: true },
  'phone-dark': { viewport: { width: 390, height: 844 }, colorScheme: 'dark', deviceScaleFactor: 2, hasTouch: true },
};
const PATIENCE_MS = 20000;
const NAME = 'garden/pond';

await mkdir(out, { recursive: true });
const { browser } = await launch({ base });
const pages = [];

/**
 * Opens `url` in one look, lets `act` do something, waits until `ready` is seen, takes the picture.
 * `failing`: some of the page's requests are meant to fail; `gone`: the server is, once the page is there.
 */
async function shot(look, name, url, ready, { act = async () => {}, failing = false, gone = false } = {}) {
  const context = await browser.newContext({ ...LOOKS[look], permissions: ['camera', 'microphone'] });
  const { page, complaints } = await openPage(context);
  try {
    if (gone) {
      await page.route('**/*', (route) =>
        (['document', 'script'].includes(route.request().resourceType()) ? route.continue() : route.abort()));
    }
    await page.goto(base + url);
    await act(page);
    await page.locator(ready).first().waitFor({ timeout: PATIENCE_MS });
    await page.waitForTimeout(300);
    const widthOver = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    await page.screenshot({ path: join(out, `${name}-${look}.png`), fullPage: true });
    // A browser notes every request that fails: no fault of a page that is to live with it.
    const faults = complaints.filter((words) => !(failing && words.startsWith('Failed to load resource')));
    pages.push({ name, look, complaints: faults, widthOver });
  } catch (error) {
    const seen = (await page.locator('body').innerText()).replace(/\s+/g, ' ');
    throw new Error(`${name} (${look}): ${error.message}\n  page: ${seen}\n  console: ${complaints.join('; ') || 'silent'}`);
  } finally {
    await context.close();
  }
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
    pages.push({ name: 'play-muted', look: 'phone-light', complaints, widthOver: 0 });
  } finally {
    await strict.browser.close();
  }
}

const clickStart = (page) => page.getByRole('button', { name: 'Start publishing' }).click();

try {
  for (const look of Object.keys(LOOKS)) {
    await shot(look, 'index-empty', '/', '#state.good');
    await shot(look, 'publish', `/${NAME}/publish`, '#start:enabled');
    await shot(look, 'play-nobody', `/${NAME}/`, 'text=Nobody is live here yet', { failing: true });
  }
  for (const look of ['desk-light', 'phone-dark']) {
    const gone = { failing: true, gone: true };
    await shot(look, 'index-gone', '/', '#notice:not([hidden])', gone);
    await shot(look, 'play-gone', `/${NAME}/`, 'text=The server does not answer', gone);
    await shot(look, 'publish-gone', `/${NAME}/publish?size=320x240`, '#notice:not([hidden])', { ...gone, act: clickStart });
    await shot(look, 'publish-nothing', `/${NAME}/publish?devices=none`, '#notice:not([hidden])', { act: clickStart });
  }

  // And now somebody is.
  const studio = await browser.newContext({ permissions: ['camera', 'microphone'], viewport: LOOKS['desk-dark'].viewport, colorScheme: 'dark' });
  const { page, complaints } = await openPage(studio);
  await page.goto(`${base}/${NAME}/publish?codec=VP8&size=640x480&bitrate=600`);
  await page.getByRole('button', { name: 'Start publishing' }).click();
  await page.locator('#state.live').waitFor({ timeout: PATIENCE_MS });
  for (const look of Object.keys(LOOKS)) {
    await shot(look, 'index-live', '/', '.path');
    await shot(look, 'play-live', `/${NAME}/`, '#video', {
      act: (player) => player.waitForFunction(() => document.body.classList.contains('playing'), null, { timeout: PATIENCE_MS }),
    });
  }
  await unmute();
  await page.screenshot({ path: join(out, 'publish-live-desk-dark.png'), fullPage: true });
  await page.getByRole('button', { name: 'Stop publishing' }).click();
  pages.push({ name: 'publish-live', look: 'desk-dark', complaints, widthOver: 0 });
} finally {
  await browser.close();
}
console.log(JSON.stringify({ pages }));
