// One Chromium publishes, a second one plays in several pages side by side, each by the URL that it
// is given: what became of the pictures, if some of these URLs are those of a bad network.
//
//   node lossy.mjs --publish http://127.0.0.1:8889 --play http://127.0.0.1:1,http://127.0.0.1:2
//
// The browser of a page at the URL that --silent names asks for no packet again; what that page
// posts is left to whoever serves the URL. The last line of stdout is JSON: what was sent, and what
// was played, in the order of the URLs, the silent page's last.

import { setTimeout as pause } from 'node:timers/promises';
import { launch, openPage, parametersFrom } from './browser.mjs';
import { sample } from './measure.mjs';

const { publish, play, silent, codec, seconds } = parametersFrom(
  { publish: null, play: null, silent: '', codec: 'VP8', seconds: '10' },
  'usage: lossy.mjs --publish URL --play URL[,URL] [--silent URL] [--codec VP8] [--seconds 10]',
);
const PATH = 'lossy';
const PATIENCE_MS = 20000;
/** How long a frame may be under way that has to be asked for once more. */
const UNDER_WAY_MS = 1500;

/** What is counted from the beginning of a session, and wanted for a part of it. */
const COUNTS = [
  'at', 'framesEncoded', 'framesDecoded', 'packetsReceived', 'packetsLost', 'nacks', 'keyframeRequests',
  'resent', 'keyframes', 'freezes', 'frozenMs', 'audioSamples', 'audioConcealed',
];

const publishing = await launch({ base: publish, context: { permissions: ['camera', 'microphone'] } });
const playing = await launch({ base: publish, media: false });
const publisher = await openPage(publishing.context);
const players = [];

async function open(url, beforeAnythingElse = () => {}) {
  const player = await openPage(playing.context);
  players.push(player);
  await player.page.addInitScript(beforeAnythingElse);
  await player.page.goto(`${url}/${PATH}/?muted=1`);
}

/** Of the publisher and of each player. */
const all = () => Promise.all([publisher, ...players].map(({ page }) => page.evaluate(sample)));

/** What came between two samples of a page. */
function between(before, after) {
  if (before === null || after === null) {
    throw new Error('a connection went away while it was measured');
  }
  return { ...after, ...Object.fromEntries(COUNTS.map((name) => [name, after[name] - before[name]])) };
}

try {
  await publisher.page.goto(`${publish}/${PATH}/publish?codec=${codec}&bitrate=600&size=320x240`);
  await publisher.page.getByRole('button', { name: 'Start publishing' }).click();
  await publisher.page.locator('#state.live').waitFor({ timeout: PATIENCE_MS });
  for (const url of play.split(',')) {
    await open(url);
  }
  if (silent !== '') {
    await open(silent, forgetNack);
  }
  for (const { page } of players) {
    await page.waitForFunction(() => document.body.classList.contains('playing'), null, { timeout: PATIENCE_MS });
  }
  // The encoder finds its rate, and the players their delay.
  await pause(3000);
  const before = await all();
  await pause(seconds * 1000);
  // The encoder stops, and what is under way arrives: then the counts speak of the same frames. That
  // ends in a freeze that is none: so they are counted before it.
  const during = await all();
  await publisher.page.evaluate(() => window.kvill.pc.getSenders().find(({ track }) => track?.kind === 'video').replaceTrack(null));
  await pause(UNDER_WAY_MS);
  const after = await all();
  const [sent, ...played] = before.map((earlier, at) => ({
    ...between(earlier, after[at]),
    seconds: (during[at].at - earlier.at) / 1000,
    freezes: during[at].freezes - earlier.freezes,
    // A freeze is counted when it ends, with what of it came before.
    frozenMs: Math.min(during[at].frozenMs - earlier.frozenMs, Math.round(during[at].at - earlier.at)),
    audioSamples: during[at].audioSamples - earlier.audioSamples,
    audioConcealed: during[at].audioConcealed - earlier.audioConcealed,
  }));
  console.log(JSON.stringify({ chromium: playing.browser.version(), codec, sent, played }));
} catch (error) {
  const seen = async ({ page, complaints }) =>
    `${(await page.locator('body').innerText().catch(() => '')).replace(/\s+/g, ' ')} ${complaints.join('; ')}`;
  throw new Error(`${error.message}\n  publish page: ${await seen(publisher)}\n  play pages: ${(await Promise.all(players.map(seen))).join('\n    ')}`);
} finally {
  await Promise.all([publishing.browser.close(), playing.browser.close()]);
}

/** Runs within the page before anything else: its browser does not know of NACK. */
function forgetNack() {
  const { setLocalDescription } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.setLocalDescription = function setWithoutNack({ type, sdp }) {
    return setLocalDescription.call(this, { type, sdp: sdp.replace(/^a=rtcp-fb:\S+ nack\r\n/gm, '') });
  };
}
