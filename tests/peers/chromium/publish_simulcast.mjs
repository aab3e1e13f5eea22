// Publishes from Chromium an offer with three layers (simulcast), until the time is over or on
// SIGTERM.
//
//   node publish_simulcast.mjs --base http://127.0.0.1:8889 --path live --codec VP8 --seconds 10
//
// Prints {"event": "publishing", …} once media flows; the last line of stdout says what was sent,
// with the fields of publish.mjs.

import { launch, openPage, parametersFrom } from './browser.mjs';
import { sample } from './measure.mjs';
import { connected, plainSession } from './plain.mjs';

const { base, path, codec, seconds } = parametersFrom(
  { base: null, path: 'live', codec: 'VP8', seconds: '10' },
  'usage: publish_simulcast.mjs --base URL [--path live] [--codec VP8] [--seconds 10]',
);
const PATIENCE_MS = 20000;

const { browser, context } = await launch({ base, context: { permissions: ['camera', 'microphone'] } });
// Playwright would close the browser on SIGTERM, and the page could not say goodbye.
process.removeAllListeners('SIGTERM');
const asked = new Promise((resolve) => process.once('SIGTERM', () => resolve(false)));
await context.addInitScript(plainSession);
const { page, complaints } = await openPage(context);
try {
  await page.goto(`${base}/`);
  const sdp = await page.evaluate(offerLayers, { url: `${base}/${path}/whip`, codec });
  await page.waitForFunction(connected, null, { timeout: PATIENCE_MS });
  await page.waitForFunction(flows, null, { timeout: PATIENCE_MS });
  const first = await page.evaluate(sample);
  console.log(JSON.stringify({
    event: 'publishing',
    codec: first.videoCodec,
    srtp_profile: first.srtpCipher,
    dtls_role: first.dtlsRole,
    layers_offered: (sdp.offer.match(/^a=rid:\S+ send/gm) ?? []).length,
    answer_has_simulcast: /^a=simulcast:/m.test(sdp.answer),
  }));

  // [seconds since 1970, frames encoded until then]
  const counts = [];
  const end = Date.now() + Number(seconds) * 1000;
  let last = first;
  const count = async () => {
    last = await page.evaluate(sample);
    counts.push([last.at / 1000, last.framesEncoded]);
  };
  for (let goesOn = true; goesOn && Date.now() < end;) {
    await count();
    goesOn = await Promise.race([asked, page.waitForTimeout(250).then(() => true)]);
  }
  // Chromium gives statistics a second time for 50 ms: this one is to be younger than the question.
  await page.waitForTimeout(100);
  await count();
  const layers = await page.evaluate(layersSent);
  console.log(JSON.stringify({
    codec: last.videoCodec,
    frames: last.framesEncoded,
    counts,
    width: last.width,
    height: last.height,
    layers_sent: layers,
    delete_status: await page.evaluate(() => window.withdraw()),
  }));
} catch (error) {
  error.message += `\n  console: ${complaints.join('; ') || 'silent'}`;
  throw error;
} finally {
  await browser.close();
}

/** Runs within the page: camera and microphone, the picture in full size, half and a quarter. */
async function offerLayers({ url, codec }) {
  const media = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 }, audio: true });
  const pc = new RTCPeerConnection();
  const video = pc.addTransceiver(media.getVideoTracks()[0], {
    direction: 'sendonly',
    sendEncodings: [
      { rid: 'full', maxBitrate: 600000 },
      { rid: 'half', maxBitrate: 200000, scaleResolutionDownBy: 2 },
      { rid: 'quarter', maxBitrate: 80000, scaleResolutionDownBy: 4 },
    ],
  });
  const { codecs } = RTCRtpSender.getCapabilities('video');
  video.setCodecPreferences(codecs.filter(({ mimeType }) => [`video/${codec}`, 'video/rtx'].includes(mimeType)));
  pc.addTransceiver(media.getAudioTracks()[0], { direction: 'sendonly' });
  const answer = await window.exchange(pc, url);
  return { offer: pc.localDescription.sdp, answer };
}

/** Runs within the page: whether a picture has been sent. */
async function flows() {
  const report = await window.kvill.pc.getStats();
  return [...report.values()].some((entry) => entry.type === 'outbound-rtp' && entry.framesSent > 0);
}

/** Runs within the page: the rids of the layers of which a picture was sent. */
async function layersSent() {
  const report = await window.kvill.pc.getStats();
  return [...report.values()]
    .filter((entry) => entry.type === 'outbound-rtp' && entry.kind === 'video' && entry.framesSent > 0)
    .map(({ rid }) => rid ?? null);
}
