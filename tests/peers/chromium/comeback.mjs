// Chromium publishes and plays by the pages, while the server is stopped and started again: what
// the pages say meanwhile, and that they find it again without anybody's doing.
//
//   node comeback.mjs --base http://127.0.0.1:8889
//
// Prints {"event": "playing"}, upon which the server is to be stopped, and {"event": "gone", …},
// upon which it is to be started; the last line of stdout says how long it took.

import { launch, openPage, parametersFrom } from './browser.mjs';

const { base } = parametersFrom({ base: null }, 'usage: comeback.mjs --base URL');
const PATIENCE_MS = 30000;

const { browser, context } = await launch({ base, context: { permissions: ['camera', 'microphone'] } });
const { page: publisher } = await openPage(context);
const { page: player } = await openPage(context);
const plays = () => player.waitForFunction(() => document.body.classList.contains('playing'), null, { timeout: PATIENCE_MS });

try {
  await publisher.goto(`${base}/live/publish?codec=VP8&bitrate=600&size=320x240`);
  await publisher.getByRole('button', { name: 'Start publishing' }).click();
  await publisher.locator('#state.live').waitFor({ timeout: PATIENCE_MS });
  await player.goto(`${base}/live/`);
  await plays();
  console.log(JSON.stringify({ event: 'playing' }));

  await player.locator('text=The server does not answer').waitFor({ timeout: PATIENCE_MS });
  await publisher.locator('text=The server does not answer').waitFor({ timeout: PATIENCE_MS });
  const start = performance.now();
  console.log(JSON.stringify({
    event: 'gone',
    player: await player.locator('#message').innerText(),
    publisher: await publisher.locator('#notice').innerText(),
  }));

  await publisher.locator('#state.live').waitFor({ timeout: PATIENCE_MS });
  const publishing = performance.now();
  await plays();
  console.log(JSON.stringify({
    publishingAfterMs: Math.round(publishing - start),
    playingAfterMs: Math.round(performance.now() - start),
    notice: await publisher.locator('#notice').isVisible(),
    message: await player.locator('#message').isVisible(),
  }));
} catch (error) {
  const seen = async (page) => (await page.locator('body').innerText().catch(() => '')).replace(/\s+/g, ' ');
  throw new Error(`${error.message}\n  publish page: ${await seen(publisher)}\n  play page: ${await seen(player)}`);
} finally {
  await browser.close();
}
