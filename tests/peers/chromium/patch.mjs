// Chromium publishes and plays without the pages, by a few lines of its own, and restarts ICE on
// either side by PATCH, after trickling candidates by PATCH too. Counts what it decodes.
//
//   node patch.mjs --base http://127.0.0.1:8889 --path live --restarts 3
//
// The last line of stdout is JSON for the test.

import { setTimeout as pause } from 'node:timers/promises';
import { launch, openPage, parametersFrom } from './browser.mjs';

const parameters = parametersFrom(
  { base: null, path: 'live', restarts: '3' },
  'usage: patch.mjs --base URL [--path PATH] [--restarts N]',
);

/** In the page: one session, and what can be done with it. */
async function session({ endpoint, publishes }) {
  const pc = new RTCPeerConnection();
  const SDPFRAG = 'application/trickle-ice-sdpfrag';
  const lines = (text, ...keys) =>
    text.split(/\r\n/).filter((line) => keys.some((key) => line.startsWith(key)));
  const own = { pc, candidates: [], statuses: [], states: [], gaps: [], frames: 0 };
  pc.addEventListener('icecandidate', ({ candidate }) => candidate && own.candidates.push(candidate));
  pc.addEventListener('connectionstatechange', () => own.states.push(pc.connectionState));
  if (publishes) {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240 } });
    stream.getTracks().forEach((track) => pc.addTrack(track, stream));
  } else {
    pc.addTransceiver('video', { direction: 'recvonly' });
    const video = document.createElement('video');
    document.body.append(video);
    Object.assign(video, { muted: true, autoplay: true });
    pc.addEventListener('track', ({ track }) => {
      video.srcObject = new MediaStream([track]);
      let last = null;
      const shown = (now) => {
        own.frames += 1;
        if (last !== null) {
          own.gaps.push(now - last);
        }
        last = now;
        video.requestVideoFrameCallback(shown);
      };
      video.requestVideoFrameCallback(shown);
    });
  }
  // The offer goes out before a single candidate is there.
  await pc.setLocalDescription();
  const created = await fetch(endpoint, {
    method: 'POST',
    headers: { 'Content-Type': 'application/sdp' },
    body: pc.localDescription.sdp,
  });
  if (created.status !== 201) {
    throw new Error(`${created.status}: ${await created.text()}`);
  }
  let answer = await created.text();
  let etag = created.headers.get('ETag');
  const url = new URL(created.headers.get('Location'), endpoint);
  await pc.setRemoteDescription({ type: 'answer', sdp: answer });
  const fragment = (candidates) => {
    const sdp = pc.localDescription.sdp;
    return [
      ...lines(sdp, 'a=ice-ufrag:').slice(0, 1),
      ...lines(sdp, 'a=ice-pwd:').slice(0, 1),
      ...lines(sdp, 'm=').slice(0, 1),
      ...lines(sdp, 'a=mid:').slice(0, 1),
      ...candidates.map(({ candidate }) => `a=${candidate}`),
      '',
    ].join('\r\n');
  };
  const patch = async (ifMatch, body) => {
    const response = await fetch(url, {
      method: 'PATCH',
      headers: { 'Content-Type': SDPFRAG, 'If-Match': ifMatch },
      body,
    });
    own.statuses.push(response.status);
    return response;
  };
  own.trickle = () => patch(etag, `${fragment(own.candidates)}a=end-of-candidates\r\n`);
  own.restart = async (ifMatch) => {
    own.candidates.length = 0;
    pc.restartIce();
    await pc.setLocalDescription();
    const response = await patch(ifMatch ?? etag, fragment([]));
    const half = await response.text();
    if (response.status !== 200) {
      throw new Error(`${response.status}: ${half}`);
    }
    etag = response.headers.get('ETag');
    for (const key of ['a=ice-ufrag:', 'a=ice-pwd:']) {
      const [told] = lines(half, key);
      answer = answer.split('\r\n').map((line) => (line.startsWith(key) ? told : line)).join('\r\n');
    }
    await pc.setRemoteDescription({ type: 'answer', sdp: answer });
  };
  /** The transport's own words: its ufrag changes with every restart that worked. */
  own.transport = async () => {
    const all = [...(await pc.getStats()).values()];
    const transport = all.find(({ type }) => type === 'transport');
    const pair = all.find(({ id }) => id === transport.selectedCandidatePairId);
    const local = all.find(({ id }) => id === pair?.localCandidateId);
    return {
      ufrag: local?.usernameFragment ?? null,
      current: lines(pc.localDescription.sdp, 'a=ice-ufrag:')[0].slice('a=ice-ufrag:'.length),
      dtls: transport.dtlsState,
    };
  };
  window.own = own;
}

async function settled(page) {
  await page.waitForFunction(async () => {
    const { ufrag, current } = await window.own.transport();
    return window.own.pc.connectionState === 'connected' && ufrag === current;
  }, null, { timeout: 10000 });
}

const { base, path } = parameters;
const { browser, context } = await launch({ base, context: { permissions: ['camera'] } });
try {
  const open = async (publishes) => {
    const { page, complaints } = await openPage(context);
    await page.goto(`${base}/`);
    const endpoint = `${base}/${path}/${publishes ? 'whip' : 'whep'}`;
    await page.evaluate(session, { endpoint, publishes });
    await settled(page);
    await page.evaluate(() => window.own.trickle());
    return { page, complaints };
  };
  const publisher = await open(true);
  await pause(500);
  const viewer = await open(false);
  await viewer.page.waitForFunction(() => window.own.frames > 20, null, { timeout: 10000 });

  const measure = async (restarting) => {
    await viewer.page.evaluate(() => window.own.gaps.splice(0));
    for (const page of restarting) {
      for (let n = 0; n < Number(parameters.restarts); n += 1) {
        await page.evaluate((ifMatch) => window.own.restart(ifMatch), n % 2 === 0 ? null : '*');
        await settled(page);
        await page.evaluate(() => window.own.trickle());
        await pause(1500);
      }
    }
    if (restarting.length === 0) {
      await pause(3000);
    }
    const gaps = await viewer.page.evaluate(() => window.own.gaps);
    return { frames: gaps.length, longestGapMs: Math.max(...gaps) };
  };
  const result = {
    calm: await measure([]),
    viewer: await measure([viewer.page]),
    publisher: await measure([publisher.page]),
  };
  for (const [name, { page, complaints }] of Object.entries({ publisher, viewer })) {
    const { statuses, states, transport } = await page.evaluate(async () => ({
      statuses: window.own.statuses,
      states: window.own.states,
      transport: await window.own.transport(),
    }));
    Object.assign(result[name], { statuses, states, dtls: transport.dtls, complaints });
  }
  console.log(JSON.stringify(result));
} finally {
  await browser.close();
}
