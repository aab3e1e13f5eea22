// A way between a browser and the server that can be lost: a UDP relay which, like a NAT, gives
// each address of the browser a port of its own towards the server. The page is led to it by the
// candidates of the server's answers, which are changed on their way.

import dgram from 'node:dgram';
import { once } from 'node:events';

const HOST = '127.0.0.1';

/** Leads the WHIP and WHEP sessions of `page` through a relay. Ask for it before the page is opened. */
export async function relayed(page) {
  const relay = await new Relay().open();
  await page.route(({ pathname }) => /\/(whip|whep)(\/|$)/.test(pathname), async (route) => {
    if (!['POST', 'PATCH'].includes(route.request().method())) {
      return route.continue();
    }
    const response = await route.fetch();
    return route.fulfill({ response, body: relay.lead(await response.text()) });
  });
  return relay;
}

class Relay {
  #socket = dgram.createSocket('udp4');
  #serverPort = 0;
  /** By the browser's address: the socket towards the server, or null where the way was cut. */
  #ways = new Map();

  async open() {
    this.#socket.on('message', (datagram, browser) => this.#wayOf(browser)?.send(datagram, this.#serverPort, HOST));
    this.#socket.bind(0, HOST);
    await once(this.#socket, 'listening');
    return this;
  }

  /** SDP of the server as the browser is to see it: with one candidate, the relay. */
  lead(sdp) {
    const lines = sdp.split('\r\n');
    const words = lines.map((line) => line.split(' ')).find(([start, , transport, , host]) =>
      start.startsWith('a=candidate:') && transport.toLowerCase() === 'udp' && host === HOST);
    if (words === undefined) {
      return sdp;
    }
    const candidate = words.join(' ');
    this.#serverPort = Number(words[5]);
    words[5] = this.#socket.address().port;
    return lines
      .filter((line) => line === candidate || !line.startsWith('a=candidate:'))
      .map((line) => (line === candidate ? words.join(' ') : line))
      .join('\r\n');
  }

  /** From now on nothing passes, either way, from and to the addresses that have been seen. */
  cut() {
    for (const [browser, way] of this.#ways) {
      way?.close();
      this.#ways.set(browser, null);
    }
  }

  close() {
    this.cut();
    this.#socket.close();
  }

  #wayOf({ address, port }) {
    const key = `${address}:${port}`;
    if (!this.#ways.has(key)) {
      const way = dgram.createSocket('udp4');
      way.on('message', (datagram) => this.#socket.send(datagram, port, address));
      this.#ways.set(key, way);
    }
    return this.#ways.get(key);
  }
}
