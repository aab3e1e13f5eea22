// Plays a path in Chromium through the play page while its machine changes networks.
//
//   node roam.mjs --base http://10.99.0.1:8889 --path live --seconds 15
//
// Prints {"event":"playing"} after the first pictures; then somebody takes a network away. The last
// line of stdout is JSON: the longest gap between two pictures, in ms, and how many there were in the
// last three seconds; and the requests that the page made meanwhile.

import { setTimeout as pause } from 'node:timers/promises';
import { launch, openPage, parametersFrom } from './browser.mjs';

const { base, path, seconds } = parametersFrom(
  { base: null, path: 'live', seconds: '15' },
  'usage: roam.mjs --base URL [--path live] [--seconds 15]',
);
const PATIENCE_MS = 20000;
const LAST_MS = 3000;

const { browser, context } = await launch({ base, media: false });
await context.addInitScript(watchPictures);
const { page } = await openPage(context);
const requests = [];
page.on('response', (response) => {
  const method = response.request().method();
  if (['POST', 'PATCH', 'DELETE'].includes(method)) {
    requests.push(`${method} ${response.status()}`);
  }
});
try {
  await page.goto(`${base}/${path}/`);
  await page.waitForFunction(() => window.pictures.length > 30, null, { timeout: PATIENCE_MS });
  requests.length = 0;
  console.log(JSON.stringify({ event: 'playing' }));
  await pause(Number(seconds) * 1000);
  const measured = await page.evaluate((last) => {
    const times = window.pictures;
    const gaps = times.slice(1).map((time, i) => time - times[i]);
    const since = performance.now() - last;
    return { gap: Math.max(...gaps), last: times.filter((time) => time > since).length };
  }, LAST_MS);
  console.log(JSON.stringify({ ...measured, requests }));
} finally {
  await browser.close();
}

/** Runs within the page before anything else: notes when its pictures were shown. */
function watchPictures() {
  window.pictures = [];
  addEventListener('DOMContentLoaded', () => {
    const video = document.querySelector('video');
    const note = () => {
      window.pictures.push(performance.now());
      video.requestVideoFrameCallback(note);
    };
    video?.requestVideoFrameCallback(note);
  });
}
