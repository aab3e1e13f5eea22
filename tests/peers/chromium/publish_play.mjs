// One Chromium publishes through the publish page, a second one plays through the play page, codec
// after codec, by the clicks of a person. A table goes to stderr, JSON to the last line of stdout.
//
//   node publish_play.mjs --base http://127.0.0.1:8889 --codecs H264,VP8,VP9,AV1 --seconds 10

import { setTimeout as pause } from 'node:timers/promises';
import { launch, openPage, parametersFrom } from './browser.mjs';
import { sample, table, watchFirstFrame } from './measure.mjs';

const { base, codecs, seconds } = parametersFrom(
  { base: null, codecs: 'H264,VP8,VP9,AV1', seconds: '10' },
  'usage: publish_play.mjs --base URL [--codecs H264,VP8,VP9,AV1] [--seconds 10]',
);
const SIZE = '320x240';
const KBPS = 600;
/** How long a frame may be under way, on a machine that is busy with two browsers. */
const UNDER_WAY_MS = 1000;
/** How long a step may take that a person waits for. */
const PATIENCE_MS = 20000;

/** Publishes and plays one codec; null where this Chromium does not encode it. */
async function run(publishing, playing, codec) {
  const path = `test-${codec.toLowerCase()}`;
  const publisher = await openPage(publishing.context);
  const player = await openPage(playing.context);
  try {
    await publisher.page.goto(`${base}/${path}/publish?codec=${codec}&bitrate=${KBPS}&size=${SIZE}`);
    await publisher.page.locator('#codec option').first().waitFor({ state: 'attached', timeout: PATIENCE_MS });
    if ((await publisher.page.inputValue('#codec')) !== codec) {
      return null;
    }
    await publisher.page.getByRole('button', { name: 'Start publishing' }).click();
    await publisher.page.locator('#state.live').waitFor({ timeout: PATIENCE_MS });

    await player.page.goto(`${base}/`);
    await player.page.getByRole('link', { name: `Watch ${path}`, exact: true }).click({ timeout: PATIENCE_MS });
    await player.page.waitForFunction(() => window.firstFrameMs !== undefined, null, { timeout: PATIENCE_MS });
    const firstFrameMs = await player.page.evaluate(() => Math.round(window.firstFrameMs));

    // The first second is the encoder's: it has not found its rate yet.
    await pause(1000);
    const both = () => Promise.all([publisher.page.evaluate(sample), player.page.evaluate(sample)]);
    const before = await both();
    await pause(seconds * 1000);
    // The encoder stops, and what is under way arrives: then the two counts speak of the same frames.
    await publisher.page.evaluate(() => window.kvill.pc.getSenders().find(({ track }) => track?.kind === 'video').replaceTrack(null));
    await pause(UNDER_WAY_MS);
    const after = await both();
    if ([...before, ...after].includes(null)) {
      throw new Error('a connection went away while it was measured');
    }
    const complaints = [...publisher.complaints, ...player.complaints];

    await publisher.page.getByRole('button', { name: 'Stop publishing' }).click();
    await player.page.locator('#message').waitFor({ timeout: PATIENCE_MS });
    const wordsAfterStop = await player.page.locator('#title').innerText();
    // And comes back: nobody has to reload the page.
    await publisher.page.getByRole('button', { name: 'Start publishing' }).click();
    await player.page.locator('#message').waitFor({ state: 'hidden', timeout: PATIENCE_MS });
    await publisher.page.getByRole('button', { name: 'Stop publishing' }).click();
    await publisher.page.locator('#state.live').waitFor({ state: 'detached', timeout: PATIENCE_MS });
    return summary(codec, before, after, { firstFrameMs, complaints, wordsAfterStop });
  } catch (error) {
    const seen = async ({ page }) => (await page.locator('body').innerText().catch(() => '')).replace(/\s+/g, ' ');
    error.message += `\n  publish page: ${await seen(publisher)}\n  play page: ${await seen(player)}`
      + `\n  consoles: ${[...publisher.complaints, ...player.complaints].join('; ') || 'silent'}`;
    throw error;
  } finally {
    await player.page.close();
    await publisher.page.close();
  }
}

function summary(codec, [sent0, got0], [sent1, got1], rest) {
  const framesEncoded = sent1.framesEncoded - sent0.framesEncoded;
  const framesDecoded = got1.framesDecoded - got0.framesDecoded;
  return {
    codec,
    seconds: (got1.at - got0.at) / 1000,
    framesEncoded,
    framesDecoded,
    // A frame or two were under way at the start: so a little above 1 is as it should be.
    ratio: framesEncoded > 0 ? framesDecoded / framesEncoded : 0,
    packetsReceived: got1.packetsReceived,
    packetsLost: got1.packetsLost,
    nacks: got1.nacks,
    keyframeRequests: got1.keyframeRequests,
    freezes: got1.freezes,
    audioSamples: got1.audioSamples - got0.audioSamples,
    audioConcealed: got1.audioConcealed - got0.audioConcealed,
    width: got1.width,
    height: got1.height,
    publisher: pick(sent0),
    player: pick(got0),
    ...rest,
  };
}

const pick = ({ videoCodec, audioCodec, srtpCipher, dtlsVersion, dtlsCipher }) =>
  ({ videoCodec, audioCodec, srtpCipher, dtlsVersion, dtlsCipher });

function report(runs) {
  const head = ['codec', 'decoded', 'encoded', 'ratio', 'lost', 'freezes', 'audio samples', 'concealed', 'first frame', 'picture', 'SRTP', 'DTLS'];
  return table([head, ...runs.map((run) => [
    run.codec,
    run.framesDecoded,
    run.framesEncoded,
    run.ratio.toFixed(3),
    run.packetsLost,
    run.freezes,
    run.audioSamples,
    run.audioConcealed,
    `${(run.firstFrameMs / 1000).toFixed(2)} s`,
    `${run.width}x${run.height}`,
    run.player.srtpCipher,
    run.player.dtlsVersion,
  ])]);
}

const publishing = await launch({ base, context: { permissions: ['camera', 'microphone'] } });
const playing = await launch({ base, media: false });
await playing.context.addInitScript(watchFirstFrame);
const runs = [];
const notEncoded = [];
const failed = [];
for (const codec of codecs.split(',')) {
  try {
    const result = await run(publishing, playing, codec);
    if (result === null) {
      notEncoded.push(codec);
    } else {
      runs.push(result);
    }
  } catch (error) {
    console.error(`${codec}: ${error.message}`);
    failed.push({ codec, error: error.message });
  }
}
const chromium = publishing.browser.version();
await Promise.all([publishing.browser.close(), playing.browser.close()]);

console.error(report(runs));
if (notEncoded.length > 0) {
  console.error(`not encoded by Chromium ${chromium}: ${notEncoded.join(', ')}`);
}
console.log(JSON.stringify({ chromium, runs, notEncoded, failed }));
