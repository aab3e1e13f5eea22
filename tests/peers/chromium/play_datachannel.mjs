// Plays a path in Chromium with an offer that also has a data channel, and counts what it decodes
// in the given time after the first picture.
//
//   node play_datachannel.mjs --base http://127.0.0.1:8889 --path live --seconds 5
//
// The last line of stdout is JSON, with the fields of play.mjs.

import { setTimeout as pause } from 'node:timers/promises';
import { launch, openPage, parametersFrom } from './browser.mjs';
import { sample } from './measure.mjs';
import { connected, plainSession } from './plain.mjs';

const { base, path, seconds } = parametersFrom(
  { base: null, path: 'live', seconds: '5' },
  'usage: play_datachannel.mjs --base URL [--path live] [--seconds 5]',
);
const PATIENCE_MS = 20000;

const { browser, context } = await launch({ base, media: false });
await context.addInitScript(plainSession);
const { page, complaints } = await openPage(context);
try {
  await page.goto(`${base}/`);
  const began = Date.now();
  const sdp = await page.evaluate(offerChannel, `${base}/${path}/whep`);
  await page.waitForFunction(connected, null, { timeout: PATIENCE_MS });
  await page.waitForFunction(() => window.firstPictureAt !== undefined, null, { timeout: PATIENCE_MS });
  const before = await page.evaluate(sample);
  await pause(Number(seconds) * 1000);
  const after = await page.evaluate(sample);
  const ports = (text, media) => [...text.matchAll(new RegExp(`^m=${media} (\\d+)`, 'gm'))].map(([, port]) => Number(port));
  console.log(JSON.stringify({
    codec: after.videoCodec,
    frames: after.framesDecoded - before.framesDecoded,
    audio_samples: after.audioSamples - before.audioSamples - (after.audioConcealed - before.audioConcealed),
    width: after.width,
    height: after.height,
    window: [before.at / 1000, after.at / 1000],
    first_frame_seconds: ((await page.evaluate(() => window.firstPictureAt)) - began) / 1000,
    srtp_profile: after.srtpCipher,
    dtls_role: after.dtlsRole,
    packets: after.packetsReceived,
    packets_lost: after.packetsLost,
    channels_offered: ports(sdp.offer, 'application').length,
    channel_ports_answered: ports(sdp.answer, 'application'),
    channel_state: await page.evaluate(() => window.channel.readyState),
    delete_status: await page.evaluate(() => window.withdraw()),
  }));
} catch (error) {
  error.message += `\n  console: ${complaints.join('; ') || 'silent'}`;
  throw error;
} finally {
  await browser.close();
}

/** Runs within the page: offers a data channel first, then to receive, and shows what comes. */
async function offerChannel(url) {
  const pc = new RTCPeerConnection();
  window.channel = pc.createDataChannel('remote control');
  const video = document.createElement('video');
  Object.assign(video, { muted: true, autoplay: true, srcObject: new MediaStream() });
  document.body.append(video);
  video.requestVideoFrameCallback(() => {
    window.firstPictureAt = Date.now();
  });
  pc.ontrack = ({ track }) => video.srcObject.addTrack(track);
  pc.addTransceiver('audio', { direction: 'recvonly' });
  pc.addTransceiver('video', { direction: 'recvonly' });
  const answer = await window.exchange(pc, url);
  return { offer: pc.localDescription.sdp, answer };
}
