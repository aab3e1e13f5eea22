// Starts Chromium as the tests need it: headless, with a fake camera and microphone that ask for
// no permission, and without a word to any host but the server under test.

import { chromium } from 'playwright-core';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // Two browsers share the screen that a headless machine has not: none of them is in the background.
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
];

/**
 * One Chromium process of its own. `base` is the server's URL; `media: false` leaves it without
 * camera and microphone; `granted: false` without the right to use them, unless `context` has it;
 * `autoplay: false` without the right to play sound before somebody clicks; `hosts` are further
 * names of the server's machine; `context` goes to Playwright's `newContext`.
 */
export async function launch({ base, media = true, granted = true, autoplay = true, hosts = [], context = {} }) {
  // The resolver knows IPv6 addresses without their brackets.
  const hostname = new URL(base).hostname.replace(/^\[|\]$/g, '');
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: [
      ...FLAGS,
      ...(media ? ['--use-fake-device-for-media-stream=fps=30'] : []),
      ...(granted ? ['--use-fake-ui-for-media-stream'] : []),
      `--autoplay-policy=${autoplay ? 'no-user-gesture-required' : 'document-user-activation-required'}`,
      `--host-resolver-rules=${hosts.map((host) => `MAP ${host} ${hostname}, `).join('')}MAP * ~NOTFOUND, EXCLUDE ${hostname}`,
    ],
    ignoreDefaultArgs: ['--mute-audio'],
  });
  return { browser, context: await browser.newContext(context) };
}

/** A new page of `context`, with everything it complains of on its console: `complaints`. */
export async function openPage(context) {
  const page = await context.newPage();
  const complaints = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) {
      complaints.push(`${message.text()} (${message.location().url})`);
    }
  });
  page.on('pageerror', (error) => complaints.push(String(error.stack ?? error)));
  return { page, complaints };
}

/** `--name value` pairs of the command line over their defaults; an unknown name ends the program. */
export function parametersFrom(defaults, usage) {
  const parameters = { ...defaults };
  const words = process.argv.slice(2);
  while (words.length > 0) {
    const name = words.shift().replace(/^--/, '');
    if (!(name in defaults) || words.length === 0) {
      console.error(usage);
      process.exit(2);
    }
    parameters[name] = words.shift();
  }
  if (Object.values(parameters).includes(null)) {
    console.error(usage);
    process.exit(2);
  }
  return parameters;
}
