// Pages of somebody else, on another port and so of another origin, that are written as people
// write them: one embeds the publisher's class, one the reader's, one speaks WHEP by itself and
// trickles. Chromium opens them, without the right to any camera, for which it hides its addresses
// behind names that end with .local, and tells what became of it.
//
//   node outsider.mjs --base http://127.0.0.1:8889
//
// The last line of stdout is JSON.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { launch, openPage, parametersFrom } from './browser.mjs';
import { sample } from './measure.mjs';

const { base } = parametersFrom({ base: null }, 'usage: outsider.mjs --base URL');
const PATIENCE_MS = 20000;
const SECONDS = 3;

// Its onError has a mistake in it: there is no spinner.
const WATCH = `<!doctype html>
<title>Our pond</title>
<h1>Live from our pond</h1>
<video id="video" width="640" controls muted autoplay playsinline></video>
<p id="message"></p>
<script src="${base}/pond/reader.js"></script>
<script>
const video = document.getElementById('video');
const message = document.getElementById('message');
const reader = new MediaMTXWebRTCReader({
  url: '${base}/pond/whep',
  onError: (err) => { message.innerText = err; document.getElementById('spinner').remove(); },
  onTrack: (evt) => { message.innerText = ''; video.srcObject = evt.streams[0]; },
});
window.addEventListener('beforeunload', () => reader.close());
</script>
`;

// A drawn picture and a stereo tone: it needs no camera.
const PUBLISH = `<!doctype html>
<title>Our studio</title>
<canvas id="canvas" width="320" height="240"></canvas>
<p id="message"></p>
<script src="${base}/pond/publisher.js"></script>
<script>
const canvas = document.getElementById('canvas');
const pen = canvas.getContext('2d');
setInterval(() => {
  pen.fillStyle = 'hsl(' + (performance.now() / 20) % 360 + ' 80% 50%)';
  pen.fillRect(Math.random() * 320, Math.random() * 240, 60, 60);
}, 40);
const audio = new AudioContext();
const sound = audio.createMediaStreamDestination();
const left = new OscillatorNode(audio, { frequency: 330 });
left.connect(new StereoPannerNode(audio, { pan: -1 })).connect(sound);
left.start();
const stream = new MediaStream([...canvas.captureStream(25).getTracks(), ...sound.stream.getTracks()]);
const publisher = new MediaMTXWebRTCPublisher({
  url: '${base}/pond/whip',
  stream,
  videoCodec: 'vp8/90000',
  videoBitrate: '500',
  audioCodec: 'opus/48000',
  audioBitrate: '96',
  audioVoice: false,
  onError: (err) => { document.getElementById('message').innerText = err; },
  onConnected: () => { document.getElementById('message').innerText = 'connected'; },
});
</script>
`;

const TRICKLE = `<!doctype html>
<title>Our own WHEP</title>
<video id="video" muted autoplay playsinline></video>
<script>
const answers = [];
const candidates = [];
const pc = new RTCPeerConnection();
(async () => {
  pc.addTransceiver('video', { direction: 'recvonly' });
  pc.addTransceiver('audio', { direction: 'recvonly' });
  pc.ontrack = (evt) => { document.getElementById('video').srcObject = evt.streams[0]; };
  let session = null;
  const queue = [];
  const send = async (candidate) => {
    const line = (name) => pc.localDescription.sdp.match(new RegExp('a=ice-' + name + ':.*'))[0];
    const medias = pc.localDescription.sdp.match(/m=.*/g);
    const response = await fetch(session, {
      method: 'PATCH',
      headers: { 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '*' },
      body: [line('ufrag'), line('pwd'), medias[candidate.sdpMLineIndex], 'a=mid:' + candidate.sdpMid, 'a=' + candidate.candidate, ''].join('\\r\\n'),
    });
    answers.push(response.status);
  };
  pc.onicecandidate = ({ candidate }) => {
    if (candidate !== null && candidate.candidate !== '') {
      candidates.push(candidate.candidate);
      session === null ? queue.push(candidate) : send(candidate);
    }
  };
  await pc.setLocalDescription();
  const response = await fetch('${base}/pond/whep', {
    method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: pc.localDescription.sdp,
  });
  session = new URL(response.headers.get('Location'), '${base}').toString();
  await pc.setRemoteDescription({ type: 'answer', sdp: await response.text() });
  queue.forEach(send);
})();
</script>
`;

const site = createServer((request, response) => {
  const page = { '/watch': WATCH, '/publish': PUBLISH, '/trickle': TRICKLE }[request.url];
  response.writeHead(page ? 200 : 204, { 'Content-Type': 'text/html; charset=utf-8' }).end(page);
}).listen(0, '127.0.0.1');
await once(site, 'listening');
const origin = `http://127.0.0.1:${site.address().port}`;

const { browser, context } = await launch({ base, media: false, granted: false });
const complaintsOf = [];

async function open(path) {
  const { page, complaints } = await openPage(context);
  complaintsOf.push(complaints);
  await page.goto(origin + path);
  return page;
}

const words = (page, wanted) =>
  page.waitForFunction((text) => document.querySelector('#message').innerText.includes(text), wanted, { timeout: PATIENCE_MS })
    .then(() => page.locator('#message').innerText());

/** Pictures and sound of a page in some seconds, and how it is connected. */
async function watched(page, name) {
  await page.waitForFunction(() => document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 0, null, { timeout: PATIENCE_MS });
  // The measuring looks for the connection where Kvill's own pages keep it.
  await page.evaluate(name === 'reader' ? 'window.kvill = reader' : 'window.kvill = { pc }');
  const before = await page.evaluate(sample);
  await pause(SECONDS * 1000);
  const after = await page.evaluate(sample);
  return {
    frames: after.framesDecoded - before.framesDecoded,
    heard: after.audioSamples - before.audioSamples - (after.audioConcealed - before.audioConcealed),
    codec: after.videoCodec,
    tracks: await page.evaluate(() => document.querySelector('video').srcObject.getTracks().map(({ kind }) => kind).sort()),
    candidates: await page.evaluate(() => window.kvill.pc.localDescription.sdp.match(/^a=candidate:.*/gm) ?? []),
  };
}

/** What a reader says that is closed while it reads its answer. */
const closedEarly = (page) => page.evaluate(async (url) => {
  const said = [];
  const { setRemoteDescription } = RTCPeerConnection.prototype;
  await new Promise((done) => {
    RTCPeerConnection.prototype.setRemoteDescription = function closing(answer) {
      const set = setRemoteDescription.call(this, answer);
      early.close();
      set.then(done);
      return set;
    };
    const early = new MediaMTXWebRTCReader({
      url,
      onError: (words) => said.push(words),
      onTrack: ({ track }) => said.push(track.kind),
      onConnected: () => said.push('connected'),
    });
  });
  RTCPeerConnection.prototype.setRemoteDescription = setRemoteDescription;
  await new Promise((done) => setTimeout(done, 300));
  return said;
}, `${base}/pond/whep`);

/** How many watch, as the server says. */
async function viewers() {
  const list = await fetch(base, { headers: { Accept: 'application/json' } });
  const { items } = await list.json();
  return items.find(({ name }) => name === 'pond')?.viewers ?? 0;
}

try {
  const watch = await open('/watch');
  const beforeIt = await words(watch, '.');
  const publish = await open('/publish');
  await words(publish, 'connected');
  const reader = await watched(watch, 'reader');
  const sent = await publish.evaluate(() => ({
    offersStereo: /stereo=1/.test(publisher.pc.localDescription.sdp),
    answersStereo: /stereo=1/.test(publisher.pc.remoteDescription.sdp),
    codecs: publisher.pc.getSenders().map((sender) => sender.getParameters().codecs[0].mimeType).sort(),
    bitrates: publisher.pc.getSenders().map((sender) => sender.getParameters().encodings[0].maxBitrate).sort((a, b) => a - b),
  }));

  const saidAfterClose = await closedEarly(watch);
  const trickle = await open('/trickle');
  const trickled = { ...await watched(trickle, 'trickle'), ...await trickle.evaluate(() => ({ answers, trickled: candidates })) };
  const viewersOfTwo = await viewers();
  await trickle.close();
  await watch.evaluate(() => reader.close());
  let left = await viewers();
  for (const end = Date.now() + PATIENCE_MS; left > 1 && Date.now() < end; left = await viewers()) {
    await pause(50);
  }
  console.log(JSON.stringify({
    seconds: SECONDS,
    beforeIt,
    reader,
    sent,
    saidAfterClose,
    trickled,
    viewers: [viewersOfTwo, left],
    complaints: complaintsOf.flat(),
  }));
} catch (error) {
  throw new Error(`${error.message}\n  consoles: ${complaintsOf.flat().join('; ') || 'silent'}`);
} finally {
  await browser.close();
  site.close();
}
