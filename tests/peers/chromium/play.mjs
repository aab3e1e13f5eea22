// Plays a path in Chromium through the play page, and counts what it decodes in the given time
// after the first picture.
//
//   node play.mjs --base http://127.0.0.1:8889 --path live --seconds 5 [--only ADDRESS]
//
// With --only the page is told of the server's candidates of that address and of no other.
// The last line of stdout is JSON, with the fields of aiortc/whep.py.

import { setTimeout as pause } from 'node:timers/promises';
import { launch, openPage, parametersFrom } from './browser.mjs';
import { sample } from './measure.mjs';

const { base, path, seconds, only } = parametersFrom(
  { base: null, path: 'live', seconds: '5', only: '' },
  'usage: play.mjs --base URL [--path live] [--seconds 5] [--only ADDRESS]',
);
const PATIENCE_MS = 20000;

const { browser, context } = await launch({ base, media: false });
await context.addInitScript(watchFirstPicture);
if (only !== '') {
  await context.route('**/whep', withOneAddress);
}
const { page, complaints } = await openPage(context);
try {
  await page.goto(`${base}/${path}/`);
  await page.waitForFunction(() => window.firstPictureMs !== undefined, null, { timeout: PATIENCE_MS });
  const before = await page.evaluate(sample);
  await pause(Number(seconds) * 1000);
  const after = await page.evaluate(sample);
  if (before === null || after === null) {
    throw new Error('the connection went away while it was measured');
  }
  console.log(JSON.stringify({
    codec: after.videoCodec,
    frames: after.framesDecoded - before.framesDecoded,
    audio_samples: after.audioSamples - before.audioSamples - (after.audioConcealed - before.audioConcealed),
    width: after.width,
    height: after.height,
    window: [before.at / 1000, after.at / 1000],
    first_frame_seconds: (await page.evaluate(() => window.firstPictureMs)) / 1000,
    srtp_profile: after.srtpCipher,
    dtls_role: after.dtlsRole,
    packets: after.packetsReceived,
    packets_lost: after.packetsLost,
    freezes: after.freezes,
    server_address: after.remoteAddress,
  }));
} catch (error) {
  const words = (await page.locator('body').innerText().catch(() => '')).replace(/\s+/g, ' ');
  error.message += `\n  page: ${words}\n  console: ${complaints.join('; ') || 'silent'}`;
  throw error;
} finally {
  await browser.close();
}

/** Leaves the candidates of other addresses out of an answer. */
async function withOneAddress(route) {
  const response = await route.fetch();
  const lines = (await response.text()).split('\r\n');
  const isOther = (line) => line.startsWith('a=candidate:') && line.split(' ')[4] !== only;
  await route.fulfill({ response, body: lines.filter((line) => !isOther(line)).join('\r\n') });
}

/** Runs within the page before anything else: notes when its first picture was shown. */
function watchFirstPicture() {
  addEventListener('DOMContentLoaded', () => {
    document.querySelector('video')?.requestVideoFrameCallback(() => {
      window.firstPictureMs = performance.now();
    });
  });
}
