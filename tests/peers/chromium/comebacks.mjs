// Chromium plays a path by the play page, whose publisher comes back again and again: how long no
// picture was to be seen each time, and what the player asked the server for meanwhile.
//
//   node comebacks.mjs --base http://127.0.0.1:8889 --ways stopped,killed,replaced --times 20
//
// stopped: a person stops the publisher and starts it again; killed: its page is gone without a
// word, and another one starts; replaced: another one starts while it still publishes. The last
// line of stdout is JSON, with a run for each way.

import { launch, openPage, parametersFrom } from './browser.mjs';
import { sample } from './measure.mjs';

const { base, ways, codec, times } = parametersFrom(
  { base: null, ways: 'stopped,killed,replaced', codec: 'VP8', times: '5' },
  'usage: comebacks.mjs --base URL [--ways stopped,killed,replaced] [--codec VP8] [--times 5]',
);
const PATIENCE_MS = 20000;
/** How many pictures are to be seen before the publisher goes once more. */
const PICTURES = 20;

const publishing = await launch({ base, context: { permissions: ['camera', 'microphone'] } });
const playing = await launch({ base, media: false });
await playing.context.addInitScript(watchPictures);

const start = (page) => page.getByRole('button', { name: 'Start publishing' }).click();
const stop = (page) => page.getByRole('button', { name: 'Stop publishing' }).click();
const isLive = (page) => page.locator('#state.live').waitFor({ timeout: PATIENCE_MS });

/** A publish page that needs but a click. */
async function ready(path) {
  const { page } = await openPage(publishing.context);
  await page.goto(`${base}/${path}/publish?codec=${codec}&bitrate=600&size=320x240`);
  await page.locator('#start:enabled').waitFor({ timeout: PATIENCE_MS });
  return page;
}

/** Kills the process that shows a page: it says goodbye neither by DELETE nor by DTLS. */
async function kill(page) {
  const devtools = await publishing.context.newCDPSession(page);
  const crashed = page.waitForEvent('crash', { timeout: PATIENCE_MS });
  // It is not there any more to answer.
  devtools.send('Page.crash').catch(() => {});
  await crashed;
  await page.close();
}

/** The publisher goes, and the next one comes, which may be itself. Gives that one. */
const WAYS = {
  stopped: async (page) => {
    await stop(page);
    await start(page);
    return page;
  },
  killed: async (page, next) => {
    await kill(page);
    await start(next);
    return next;
  },
  replaced: async (page, next) => {
    await start(next);
    await isLive(next);
    await page.close();
    return next;
  },
};

async function run(way) {
  const path = `comebacks-${way}`;
  const { page: player, complaints } = await openPage(playing.context);
  const requests = [];
  player.on('request', (request) => {
    if (request.method() !== 'GET') {
      requests.push(`${request.method()} ${new URL(request.url()).pathname}`);
    }
  });
  const shown = () => player.evaluate(() => window.pictures.length);
  const shows = (many) => player.waitForFunction((count) => window.pictures.length >= count, many, { timeout: PATIENCE_MS });
  const gaps = [];
  try {
    let publisher = await ready(path);
    await start(publisher);
    await isLive(publisher);
    await player.goto(`${base}/${path}/?muted=1`);
    await shows(PICTURES);
    requests.length = 0;
    const [first, before] = [await player.evaluate(generation), await player.evaluate(sample)];
    while (gaps.length < Number(times)) {
      const next = way === 'stopped' ? publisher : await ready(path);
      const seen = await shown();
      publisher = await WAYS[way](publisher, next);
      await isLive(publisher);
      await shows((await shown()) + PICTURES);
      gaps.push(await player.evaluate(longestGap, seen));
    }
    const [last, after] = [await player.evaluate(generation), await player.evaluate(sample)];
    await publisher.close();
    await player.close();
    return {
      way,
      codec: after.videoCodec,
      gaps,
      requests,
      sameSession: first === last,
      keyframes: after.keyframes - before.keyframes,
      keyframeRequests: after.keyframeRequests - before.keyframeRequests,
      complaints,
    };
  } catch (error) {
    const words = (await player.locator('body').innerText().catch(() => '')).replace(/\s+/g, ' ');
    throw new Error(`${way}: ${error.message}\n  so far: ${gaps} ms, ${requests}\n  play page: ${words} ${complaints.join('; ')}`);
  }
}

try {
  const runs = [];
  for (const way of ways.split(',')) {
    runs.push(await run(way));
  }
  console.log(JSON.stringify({ chromium: playing.browser.version(), runs }));
} finally {
  await Promise.all([publishing.browser.close(), playing.browser.close()]);
}

/** Runs within the page: the ufrag that its side of ICE goes by, another one for each session. */
function generation() {
  return /a=ice-ufrag:(\S+)/.exec(window.kvill.pc?.localDescription?.sdp)?.[1] ?? '';
}

/** Runs within the page: the longest time between two pictures since so many had been shown. */
function longestGap(seen) {
  const times = window.pictures.slice(seen - 1);
  return Math.round(Math.max(...times.slice(1).map((time, i) => time - times[i])));
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
