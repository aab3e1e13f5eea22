// Publishes from Chromium through the publish page, until the time is over or on SIGTERM.
//
//   node publish.mjs --base http://127.0.0.1:8889 --path live --codec VP8 --seconds 10
//
// Prints {"event": "publishing", …} once media flows; the last line of stdout says what was sent.

import { launch, openPage, parametersFrom } from './browser.mjs';
import { sample } from './measure.mjs';

const { base, path, codec, seconds } = parametersFrom(
  { base: null, path: 'live', codec: 'VP8', seconds: '10' },
  'usage: publish.mjs --base URL [--path live] [--codec VP8] [--seconds 10]',
);
const PATIENCE_MS = 20000;

const { browser, context } = await launch({ base, context: { permissions: ['camera', 'microphone'] } });
// Playwright would close the browser on SIGTERM, and the page could not say goodbye.
process.removeAllListeners('SIGTERM');
const asked = new Promise((resolve) => process.once('SIGTERM', () => resolve(false)));
const { page, complaints } = await openPage(context);
try {
  await page.goto(`${base}/${path}/publish?codec=${codec}&bitrate=600&size=320x240`);
  await page.locator('#codec option').first().waitFor({ state: 'attached', timeout: PATIENCE_MS });
  if ((await page.inputValue('#codec')) !== codec) {
    throw new Error(`this Chromium (${browser.version()}) does not encode ${codec}`);
  }
  await page.getByRole('button', { name: 'Start publishing' }).click();
  await page.locator('#state.live').waitFor({ timeout: PATIENCE_MS });
  await page.waitForFunction(sent, null, { timeout: PATIENCE_MS });
  const first = await page.evaluate(sample);
  console.log(JSON.stringify({ event: 'publishing', codec: first.videoCodec, srtp_profile: first.srtpCipher, dtls_role: first.dtlsRole }));

  // [seconds since 1970, frames encoded until then]
  const counts = [];
  const end = Date.now() + Number(seconds) * 1000;
  let last = first;
  const count = async () => {
    last = await page.evaluate(sample);
    if (last !== null) {
      counts.push([last.at / 1000, last.framesEncoded]);
    }
  };
  for (let goesOn = true; goesOn && last !== null && Date.now() < end;) {
    await count();
    goesOn = await Promise.race([asked, page.waitForTimeout(250).then(() => true)]);
  }
  // Chromium gives statistics a second time for 50 ms: this one is to be younger than the question.
  await page.waitForTimeout(100);
  await count();
  const deleted = page.waitForResponse((response) => response.request().method() === 'DELETE', { timeout: PATIENCE_MS });
  await page.getByRole('button', { name: 'Stop publishing' }).click();
  console.log(JSON.stringify({
    codec: last?.videoCodec ?? null,
    frames: last?.framesEncoded ?? 0,
    counts,
    delete_status: (await deleted).status(),
  }));
} catch (error) {
  const words = (await page.locator('body').innerText().catch(() => '')).replace(/\s+/g, ' ');
  error.message += `\n  page: ${words}\n  console: ${complaints.join('; ') || 'silent'}`;
  throw error;
} finally {
  await browser.close();
}

/** Runs within the page: whether a picture has been encoded. */
async function sent() {
  const report = await window.kvill.pc?.getStats() ?? new Map();
  return [...report.values()].some((entry) => entry.type === 'outbound-rtp' && entry.framesEncoded > 0);
}
