// How long a picture takes from its capture to its display in Chromium: through servers, and directly
// from one connection of the browser to another.
//
//   node latency.mjs --servers 'kvill=http://127.0.0.1:8889,other=http://127.0.0.1:9000' --rounds 8 --seconds 5
//
// One page draws pictures that have the time in them as black and white blocks, sends them, plays
// them, and reads the time: so both ends have one clock. The ways take turns of so many seconds, in
// every second round backwards. The last line of stdout is JSON, times in milliseconds.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { launch, openPage, parametersFrom } from './browser.mjs';
import { plainSession } from './plain.mjs';

const { servers, rounds, seconds } = parametersFrom(
  { servers: null, rounds: '8', seconds: '5' },
  'usage: latency.mjs --servers NAME=URL[,NAME=URL…] [--rounds 8] [--seconds 5]',
);
const PATH = 'live';
/** How long each turn lets Chromium find its rate and its delays before it counts. */
const SETTLE_MS = 1000;

const ways = [
  { name: 'direct', base: null },
  ...servers.split(',').map((server) => {
    const [name, base] = server.split('=');
    return { name, base };
  }),
].map((way) => ({ ...way, display: [], receive: [], rounds: [], held: [], misread: 0 }));

const site = createServer((_, response) => {
  response.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html>');
}).listen(0, '127.0.0.1');
await once(site, 'listening');
const base = `http://127.0.0.1:${site.address().port}`;
const { browser, context } = await launch({ base, context: { permissions: ['camera', 'microphone'] } });
const { page, complaints } = await openPage(context);
try {
  await page.addInitScript(plainSession);
  await page.goto(base);
  await page.evaluate(prepare);
  for (let round = 0; round < Number(rounds); round += 1) {
    for (const way of round % 2 === 0 ? ways : [...ways].reverse()) {
      const url = way.base === null ? null : `${way.base}/${PATH}`;
      await page.evaluate(connect, url);
      const { display, receive, misread, held } = await page.evaluate(measure, { settle: SETTLE_MS, length: Number(seconds) * 1000 });
      await page.evaluate(disconnect, url);
      way.display.push(...display);
      way.receive.push(...receive);
      way.rounds.push(summary(receive).median);
      way.held.push(held);
      way.misread += misread;
    }
  }
  console.log(JSON.stringify({
    chromium: browser.version(),
    ways: ways.map(({ name, display, receive, held, rounds: medians, misread }) =>
      ({ name, display: summary(display), receive: summary(receive), held: summary(held), rounds: medians, misread })),
  }));
} catch (error) {
  throw new Error(`${error.message}\n  console: ${complaints.join('; ') || 'silent'}`);
} finally {
  await browser.close();
  site.close();
}

function summary(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  return { count: sorted.length, median: at(0.5), p99: at(0.99), max: at(1) };
}

/** Runs within the page: a picture that is a clock, and who reads it. */
function prepare() {
  const [WIDTH, HEIGHT] = [640, 360];
  /** The clock has 32 blocks: 24 bits of time, 8 that show whether they were read well. */
  const [BLOCK, COLUMNS, ROWS] = [40, 8, 4];
  const TICKS_PER_MS = 10;
  const RANGE = 2 ** 24;
  /** A little off 30 per second, so that pictures are taken at all moments between two of the screen's. */
  const INTERVAL_MS = 34.1;
  const check = (ticks) => Math.imul(ticks, 0x9e3779b1) >>> 24;

  const canvas = document.body.appendChild(Object.assign(document.createElement('canvas'), { width: WIDTH, height: HEIGHT }));
  const picture = canvas.getContext('2d', { alpha: false });
  // No picture but those that are asked for.
  window.track = canvas.captureStream(0).getVideoTracks()[0];
  let frame = 0;
  const draw = () => {
    picture.fillStyle = '#888';
    picture.fillRect(0, BLOCK * ROWS, WIDTH, HEIGHT);
    // Something that moves, for a picture like others.
    picture.fillStyle = `hsl(${(frame * 7) % 360} 80% 50%)`;
    picture.fillRect((frame * 5) % WIDTH, BLOCK * ROWS + 40, 80, 80);
    frame += 1;
    const ticks = Math.floor(performance.now() * TICKS_PER_MS) % RANGE;
    const bits = ticks.toString(2).padStart(24, '0') + check(ticks).toString(2).padStart(8, '0');
    for (const [i, bit] of [...bits].entries()) {
      picture.fillStyle = bit === '1' ? '#fff' : '#000';
      picture.fillRect((i % COLUMNS) * BLOCK, Math.floor(i / COLUMNS) * BLOCK, BLOCK, BLOCK);
    }
    window.track.requestFrame();
  };
  let next = performance.now();
  const turn = () => {
    draw();
    next = Math.max(next + INTERVAL_MS, performance.now());
    setTimeout(turn, next - performance.now());
  };
  turn();

  const look = new OffscreenCanvas(COLUMNS, ROWS).getContext('2d', { willReadFrequently: true, alpha: false });
  look.imageSmoothingEnabled = false;
  /** When the picture that `video` shows was drawn, in ticks; null where that cannot be read. */
  const read = (video) => {
    const { videoWidth, videoHeight } = video;
    look.drawImage(video, 0, 0, videoWidth * BLOCK * COLUMNS / WIDTH, videoHeight * BLOCK * ROWS / HEIGHT, 0, 0, COLUMNS, ROWS);
    const { data } = look.getImageData(0, 0, COLUMNS, ROWS);
    const bits = Array.from({ length: COLUMNS * ROWS }, (_, i) => (data[4 * i] > 127 ? '1' : '0')).join('');
    const ticks = parseInt(bits.slice(0, 24), 2);
    return check(ticks) === parseInt(bits.slice(24), 2) ? ticks : null;
  };
  window.watch = (video) => {
    const onPicture = (_, { expectedDisplayTime, receiveTime }) => {
      video.requestVideoFrameCallback(onPicture);
      const ticks = read(video);
      const since = (time) => (((time * TICKS_PER_MS - ticks + 1.5 * RANGE) % RANGE) - RANGE / 2) / TICKS_PER_MS;
      // A page that is late may see the next picture already, which had not come by then.
      if (ticks === null || since(receiveTime) < 0) {
        window.seen.misread += 1;
      } else {
        window.seen.display.push(since(expectedDisplayTime));
        window.seen.receive.push(since(receiveTime));
      }
    };
    video.requestVideoFrameCallback(onPicture);
  };
}

/** Runs within the page: a sender and a receiver, through the server of that URL or directly. */
async function connect(url) {
  const PATIENCE_MS = 15000;
  const KBPS = 2000;
  const end = performance.now() + PATIENCE_MS;
  const until = async (what) => {
    while (!what()) {
      if (performance.now() > end) {
        throw new Error(`it did not come to pass: ${what}`);
      }
      await new Promise((resolve) => { setTimeout(resolve, 10); });
    }
  };
  window.seen = { display: [], receive: [], misread: 0 };
  const [sender, receiver] = [new RTCPeerConnection(), new RTCPeerConnection()];
  window.ends = [sender, receiver];
  const { codecs } = RTCRtpSender.getCapabilities('video');
  sender.addTransceiver(window.track, { direction: 'sendonly' })
    .setCodecPreferences(codecs.filter(({ mimeType }) => ['video/VP8', 'video/rtx'].includes(mimeType)));
  // Chromium sends at a pace that goes by its estimate of the way, which begins low, and grows by what
  // the other end reports: so all ways have one from the start.
  const setRemoteDescription = sender.setRemoteDescription.bind(sender);
  sender.setRemoteDescription = ({ type, sdp }) => setRemoteDescription({
    type,
    sdp: sdp.replace(/^a=rtpmap:(\d+) VP8\/90000\r\n/m, `$&a=fmtp:$1 x-google-start-bitrate=${KBPS};x-google-min-bitrate=${KBPS}\r\n`),
  });
  receiver.ontrack = ({ track }) => {
    const video = Object.assign(document.createElement('video'), { muted: true, autoplay: true, srcObject: new MediaStream([track]) });
    document.body.append(video);
    window.watch(video);
  };
  if (url === null) {
    const described = async (pc) => {
      await pc.setLocalDescription();
      await until(() => pc.iceGatheringState === 'complete');
      return pc.localDescription;
    };
    await receiver.setRemoteDescription(await described(sender));
    await sender.setRemoteDescription(await described(receiver));
  } else {
    await window.exchange(sender, `${url}/whip`);
    await until(() => sender.connectionState === 'connected');
    receiver.addTransceiver('video', { direction: 'recvonly' });
    // Some servers let nobody in before they have seen the first packets.
    for (let isIn = false; !isIn;) {
      isIn = await window.exchange(receiver, `${url}/whep`).then(() => true, async (error) => {
        if (performance.now() > end) {
          throw error;
        }
        await new Promise((resolve) => { setTimeout(resolve, 100); });
        return false;
      });
    }
  }
  await until(() => window.seen.display.length > 0);
}

/** Runs within the page: how old pictures were when they had come, and when they were shown; and how long the jitter buffer held them. */
async function measure({ settle, length }) {
  await new Promise((resolve) => { setTimeout(resolve, settle); });
  const buffer = async () => {
    const report = await window.ends[1].getStats();
    return [...report.values()].find(({ type }) => type === 'inbound-rtp');
  };
  const before = await buffer();
  window.seen = { display: [], receive: [], misread: 0 };
  await new Promise((resolve) => { setTimeout(resolve, length); });
  const after = await buffer();
  const between = (name) => after[name] - before[name];
  return { ...window.seen, held: (1000 * between('jitterBufferDelay')) / between('jitterBufferEmittedCount') };
}

/** Runs within the page. */
async function disconnect(url) {
  for (const pc of window.ends) {
    if (url !== null) {
      await window.withdraw(pc);
    }
    pc.close();
  }
  document.querySelectorAll('video').forEach((video) => video.remove());
}
