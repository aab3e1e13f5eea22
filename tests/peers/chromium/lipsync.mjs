// How far sound and picture are apart in Chromium, through the server and, by the same method and at
// the same time, directly from Chromium to Chromium.
//
//   node lipsync.mjs --base http://127.0.0.1:8889 --seconds 20
//
// A page flashes and beeps at once, again and again, and sends the same two tracks both ways. Another
// page has both come in, and notes for each flash when it was shown, and for each beep when it was
// to be heard. The last line of stdout is JSON.

import { setTimeout as pause } from 'node:timers/promises';
import { launch, openPage, parametersFrom } from './browser.mjs';
import { plainSession } from './plain.mjs';

const { base, seconds } = parametersFrom(
  { base: null, seconds: '20' },
  'usage: lipsync.mjs --base URL [--seconds 20]',
);
const PATH = 'lipsync';
const PATIENCE_MS = 20000;
/** How long the receivers look for their delays: they move them once a second. */
const SETTLE_MS = 8000;
/** A flash and its beep are never further apart than this. */
const PAIR_MS = 400;
const WAYS = ['server', 'direct'];

/** With the right to use them, Chromium offers its real addresses, which both sides need of each other. */
const context = { permissions: ['camera', 'microphone'] };
const sending = await launch({ base, context });
const receiving = await launch({ base, context });
const sender = await openPage(sending.context);
const receiver = await openPage(receiving.context);

try {
  for (const [{ page }, prepare] of [[sender, prepareSender], [receiver, prepareReceiver]]) {
    await page.addInitScript(plainSession);
    await page.goto(`${base}/`);
    await page.evaluate(prepare, WAYS);
  }
  await sender.page.evaluate((url) => window.exchange(window.ways.server, url), `${base}/${PATH}/whip`);
  await connected(sender, 'server');
  await receiver.page.evaluate((url) => window.exchange(window.ways.server, url), `${base}/${PATH}/whep`);

  const offer = await sender.page.evaluate(offered, 'direct');
  const answer = await receiver.page.evaluate(answered, { way: 'direct', sdp: offer });
  await sender.page.evaluate((sdp) => window.ways.direct.setRemoteDescription({ type: 'answer', sdp }), answer);
  for (const way of WAYS) {
    await connected(receiver, way);
  }
  await receiver.page.waitForFunction((ways) => ways.every((way) => window.flashes[way].length > 1), WAYS, { timeout: PATIENCE_MS });
  await pause(SETTLE_MS);

  const from = await receiver.page.evaluate(() => performance.now());
  const playout = { server: [], direct: [] };
  for (let second = 0; second < Number(seconds); second += 1) {
    await pause(1000);
    for (const way of WAYS) {
      playout[way].push(await receiver.page.evaluate(playoutApart, way));
    }
  }
  const seen = await receiver.page.evaluate(() => ({ flashes: window.flashes, beeps: window.beeps, clock: window.clock }));
  const ahead = median(seen.clock);
  const apart = Object.fromEntries(WAYS.map((way) =>
    [way, pairs(seen.flashes[way].filter((flash) => flash >= from), seen.beeps[way].map((beep) => beep + ahead))]));
  const result = {
    chromium: receiving.browser.version(),
    // Of the same flash, by both ways: so it does not matter how far apart they were when they were sent.
    more: summary(pairsOfWays(apart)),
    complaints: [...sender.complaints, ...receiver.complaints],
  };
  for (const way of WAYS) {
    result[way] = {
      ...summary(apart[way].map(([, beepAfter]) => beepAfter)),
      byReports: summary(playout[way].filter((value) => value !== null)).median,
      ...(await receiver.page.evaluate(delays, way)),
    };
  }
  console.log(JSON.stringify(result));
} finally {
  await Promise.all([sending.browser.close(), receiving.browser.close()]);
}

function connected({ page }, way) {
  return page.waitForFunction((name) => window.ways[name].connectionState === 'connected', way, { timeout: PATIENCE_MS });
}

/** When each flash was shown, and how many milliseconds later its beep was to be heard. */
function pairs(flashes, beeps) {
  return flashes.flatMap((flash) => {
    const after = nearest(beeps, flash) - flash;
    return Math.abs(after) < PAIR_MS ? [[flash, after]] : [];
  });
}

/** How much later after its flash each beep came by the server than directly. */
function pairsOfWays({ server, direct }) {
  const times = direct.map(([flash]) => flash);
  return server.flatMap(([flash, after]) => {
    const same = times.indexOf(nearest(times, flash));
    return Math.abs(times[same] - flash) < PAIR_MS ? [after - direct[same][1]] : [];
  });
}

function nearest(times, to) {
  return times.reduce((best, time) => (Math.abs(time - to) < Math.abs(best - to) ? time : best), Infinity);
}

function summary(apart) {
  const sorted = [...apart].sort((a, b) => a - b);
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  const rounded = (value) => Math.round(value * 10) / 10;
  return { count: sorted.length, median: rounded(at(0.5)), low: rounded(at(0.1)), high: rounded(at(0.9)) };
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

/** Runs within the page: a picture and a tone, and a connection for each way that sends them. */
function prepareSender(ways) {
  const FPS = 30;
  const PERIOD_FRAMES = 23;
  const FLASH_FRAMES = 4;
  const canvas = document.body.appendChild(Object.assign(document.createElement('canvas'), { width: 320, height: 240 }));
  const picture = canvas.getContext('2d');
  const audio = new AudioContext({ sampleRate: 48000 });
  const out = audio.createMediaStreamDestination();
  const tone = new OscillatorNode(audio, { frequency: 1000 });
  const loudness = new GainNode(audio, { gain: 0 });
  tone.connect(loudness).connect(out);
  tone.start();

  let frame = 0;
  setInterval(() => {
    const phase = frame % PERIOD_FRAMES;
    if (phase === 0) {
      loudness.gain.setValueAtTime(0.8, audio.currentTime);
      loudness.gain.setValueAtTime(0, audio.currentTime + FLASH_FRAMES / FPS);
    }
    picture.fillStyle = phase < FLASH_FRAMES ? '#fff' : '#000';
    picture.fillRect(0, 0, 320, 240);
    // A picture that does not change is none.
    picture.fillStyle = '#888';
    picture.fillRect((frame * 4) % 320, 0, 8, 16);
    frame += 1;
  }, 1000 / FPS);

  const stream = new MediaStream([...canvas.captureStream(FPS).getTracks(), ...out.stream.getTracks()]);
  window.ways = Object.fromEntries(ways.map((way) => {
    const pc = new RTCPeerConnection();
    for (const track of stream.getTracks()) {
      const transceiver = pc.addTransceiver(track, { direction: 'sendonly', streams: [stream] });
      if (track.kind === 'video') {
        const { codecs } = RTCRtpSender.getCapabilities('video');
        transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => ['video/VP8', 'video/rtx'].includes(mimeType)));
      }
    }
    return [way, pc];
  }));
}

/** Runs within the page: a connection for each way that plays, and somebody who looks and listens. */
async function prepareReceiver(ways) {
  const SIZE = 8;
  const audio = new AudioContext({ sampleRate: 48000 });
  const code = `registerProcessor('ear', class extends AudioWorkletProcessor {
    quiet = [];
    process(inputs) {
      inputs.forEach(([channel], input) => {
        for (const [i, value] of (channel ?? []).entries()) {
          if (Math.abs(value) < 0.1) {
            this.quiet[input] = (this.quiet[input] ?? 0) + 1;
          } else {
            // A tenth of a second of silence, then a sound: it begins here.
            if (this.quiet[input] > sampleRate / 10) {
              this.port.postMessage({ input, time: currentTime + i / sampleRate });
            }
            this.quiet[input] = 0;
          }
        }
      });
      return true;
    }
  });`;
  await audio.audioWorklet.addModule(URL.createObjectURL(new Blob([code], { type: 'text/javascript' })));
  const ear = new AudioWorkletNode(audio, 'ear', { numberOfInputs: ways.length, numberOfOutputs: 0 });
  window.flashes = Object.fromEntries(ways.map((way) => [way, []]));
  window.beeps = Object.fromEntries(ways.map((way) => [way, []]));
  /** How many milliseconds the clock of pictures is ahead of the clock of sound, again and again. */
  window.clock = [];
  ear.port.onmessage = ({ data: { input, time } }) => {
    window.beeps[ways[input]].push(time * 1000);
    const { contextTime, performanceTime } = audio.getOutputTimestamp();
    window.clock.push(performanceTime - contextTime * 1000);
  };

  const watch = (way, video) => {
    const look = new OffscreenCanvas(SIZE, SIZE).getContext('2d', { willReadFrequently: true });
    let bright = false;
    const onPicture = (_, { expectedDisplayTime }) => {
      look.drawImage(video, 0, 0, SIZE, SIZE);
      const [red] = look.getImageData(SIZE / 2, SIZE / 2, 1, 1).data;
      if (red > 128 && !bright) {
        window.flashes[way].push(expectedDisplayTime);
      }
      bright = red > 128;
      video.requestVideoFrameCallback(onPicture);
    };
    video.requestVideoFrameCallback(onPicture);
  };
  window.ways = Object.fromEntries(ways.map((way, input) => {
    const pc = new RTCPeerConnection();
    if (way === 'server') {
      pc.addTransceiver('audio', { direction: 'recvonly' });
      pc.addTransceiver('video', { direction: 'recvonly' });
    }
    const stream = new MediaStream();
    pc.ontrack = ({ track }) => {
      stream.addTrack(track);
      if (stream.getTracks().length === 2) {
        const video = document.body.appendChild(Object.assign(document.createElement('video'), { muted: true, autoplay: true, srcObject: stream }));
        watch(way, video);
        audio.createMediaStreamSource(stream).connect(ear, 0, input);
      }
    };
    return [way, pc];
  }));
}

/** Runs within the page: an offer with all candidates. */
async function offered(way) {
  const pc = window.ways[way];
  await pc.setLocalDescription();
  while (pc.iceGatheringState !== 'complete') {
    await new Promise((resolve) => { pc.addEventListener('icegatheringstatechange', resolve, { once: true }); });
  }
  return pc.localDescription.sdp;
}

/** Runs within the page: an answer with all candidates. */
async function answered({ way, sdp }) {
  const pc = window.ways[way];
  await pc.setRemoteDescription({ type: 'offer', sdp });
  await pc.setLocalDescription();
  while (pc.iceGatheringState !== 'complete') {
    await new Promise((resolve) => { pc.addEventListener('icegatheringstatechange', resolve, { once: true }); });
  }
  return pc.localDescription.sdp;
}

/** Runs within the page: how many milliseconds of the sender's clock sound is ahead of the picture, by sender reports. */
async function playoutApart(way) {
  const report = [...(await window.ways[way].getStats()).values()];
  const [sound, picture] = ['audio', 'video'].map((kind) =>
    report.find((entry) => entry.type === 'inbound-rtp' && entry.kind === kind)?.estimatedPlayoutTimestamp);
  return sound === undefined || picture === undefined ? null : sound - picture;
}

/** Runs within the page: how long the two tracks were kept back, in milliseconds. */
async function delays(way) {
  const report = [...(await window.ways[way].getStats()).values()];
  const [soundDelay, pictureDelay] = ['audio', 'video'].map((kind) => {
    const { jitterBufferDelay, jitterBufferEmittedCount } = report.find((entry) => entry.type === 'inbound-rtp' && entry.kind === kind);
    return Math.round((1000 * jitterBufferDelay) / jitterBufferEmittedCount);
  });
  return { soundDelay, pictureDelay };
}
