// What the reader and the publisher have in common: one WHIP or WHEP session after another, until
// close(). The server puts this file before each of the two, within one function scope.
//
// The server is ICE-lite: it learns where its peer is from the checks that arrive. So the offer
// leaves at once, without candidates, and nothing is sent after it (no PATCH).

/** The pause before the next attempt. Up to a quarter is added, so that viewers do not return in step. */
const RETRY_MS = 2000;
/** How long one HTTP request may take. */
const REQUEST_MS_MAX = 10000;
/** How long ICE and DTLS may take. The server gives up after the same time. */
const CONNECT_MS_MAX = 10000;
/** How long a connection that is given up may wait for the server's word. */
const CLOSE_MS_MAX = 1000;
/** How long a connection may stay `disconnected` (which it is after some silent seconds) before a new one is made. */
const DISCONNECTED_MS_MAX = 3000;

/**
 * Why an attempt ended. `kind` is for programs, `message` for people, in whole sentences:
 *
 * - `no-stream`: nobody publishes on the path (404)
 * - `refused`: any other refusal by the server, in its own words; `status` is the HTTP status
 * - `unreachable`: no answer to an HTTP request
 * - `no-media-path`: HTTP works, but ICE and DTLS came to nothing
 * - `lost`: the connection fell silent
 * - `ended`: the server closed the session (the stream ended, or another publisher took the path)
 * - `unsupported`: the browser cannot do it
 */
class SessionError extends Error {
  constructor(kind, message, status = 0) {
    super(message);
    this.name = 'SessionError';
    this.kind = kind;
    this.status = status;
  }
}

/** A refusal in the server's own words: `{"status":"error","error":"…"}`, made a sentence. */
const refusalOf = async (response) => {
  const { status } = response;
  const body = await response.json().catch(() => null);
  const words = typeof body?.error === 'string' && body.error !== '' ? body.error : `the server answered with HTTP status ${status}`;
  const sentence = words[0].toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? '' : '.');
  return new SessionError(status === 404 ? 'no-stream' : 'refused', sentence, status);
};

/** The ICE servers of a `Link` header (RFC 9725 §4.6). The server quotes strings as JSON does. */
const iceServersOf = (link) => {
  const servers = [];
  const pattern = /<([^>]+)>\s*;\s*rel="ice-server"((?:\s*;\s*[a-z-]+="(?:[^"\\]|\\.)*")*)/gi;
  for (const [, url, attributes] of (link || '').matchAll(pattern)) {
    const server = { urls: [url] };
    for (const [, key, value] of attributes.matchAll(/([a-z-]+)="((?:[^"\\]|\\.)*)"/gi)) {
      if (key === 'username' || key === 'credential') {
        server[key] = JSON.parse(`"${value}"`);
      }
    }
    servers.push(server);
  }
  return servers;
};

/** The `Authorization` header of a configuration, if it names any credentials. */
const authorizationOf = ({ user, pass, token }) => {
  if (user) {
    const bytes = new TextEncoder().encode(`${user}:${pass ?? ''}`);
    return { Authorization: `Basic ${btoa(String.fromCharCode(...bytes))}` };
  }
  return token ? { Authorization: `Bearer ${token}` } : {};
};

class Session {
  /** The connection of the session at hand, or null between two of them. */
  pc = null;

  #url;
  #sessionUrl = null;
  #running = null;

  /**
   * `conf.url` is the WHIP or WHEP endpoint; `user` and `pass`, or `token`, are its credentials.
   * `onError(message, error)` is told of every attempt that ended and of every session that broke;
   * `error.retrying` says whether another attempt follows. `onConnected(pc)` is told when ICE and
   * DTLS are done.
   */
  constructor(conf) {
    this.conf = conf;
    this.#url = new URL(conf.url, window.location.href).toString();
    window.addEventListener('pagehide', this.#pause);
    window.addEventListener('pageshow', this.#resume);
    // Not before the constructor of the derived class is through.
    queueMicrotask(() => this.#start());
  }

  /** Ends the session, tells the server so, and makes no further attempt. */
  close() {
    window.removeEventListener('pagehide', this.#pause);
    window.removeEventListener('pageshow', this.#resume);
    this.closed = true;
    this.#pause();
  }

  /** Adds what is to be sent or received to a new connection. */
  addMedia(_pc) {}

  /** The offer as the server is to see it. */
  editOffer(sdp) {
    return sdp;
  }

  /** The answer is in place; media may flow soon. */
  async onAnswered(_pc) {}

  #pause = () => {
    this.#running?.abort();
    this.#running = null;
    this.#release();
  };

  // Back from the browser's page cache.
  #resume = (event) => {
    if (event.persisted) {
      this.#start();
    }
  };

  #start() {
    if (!this.closed && this.#running === null) {
      this.#running = new AbortController();
      this.#run(this.#running.signal);
    }
  }

  async #run(signal) {
    while (!signal.aborted) {
      try {
        await this.#attempt(signal);
      } catch (thrown) {
        if (signal.aborted) {
          return;
        }
        this.#release(thrown.kind === 'ended');
        const error = thrown instanceof SessionError ? thrown : new SessionError('unsupported', thrown.message);
        // Wrong credentials stay wrong, and a server may count them.
        error.retrying = error.status !== 401 && error.status !== 403;
        this.conf.onError?.(error.message, error);
        if (!error.retrying) {
          return;
        }
      }
      await new Promise((done) => setTimeout(done, RETRY_MS * (1 + Math.random() / 4)));
    }
  }

  /** One session from the first request until it breaks; never returns but by an error. */
  async #attempt(signal) {
    if (typeof RTCPeerConnection === 'undefined') {
      throw new SessionError('unsupported', 'It has no WebRTC.');
    }
    const options = await this.#request(signal, this.#url, 'OPTIONS');
    if (!options.ok && options.status !== 405) {
      throw await refusalOf(options);
    }
    const pc = new RTCPeerConnection({ iceServers: iceServersOf(options.headers.get('Link')) });
    this.pc = pc;
    this.addMedia(pc);
    const offer = await pc.createOffer();
    const sdp = this.editOffer(offer.sdp);
    await pc.setLocalDescription({ type: 'offer', sdp });

    const answer = await this.#request(signal, this.#url, 'POST', sdp);
    if (answer.status !== 201) {
      throw await refusalOf(answer);
    }
    signal.throwIfAborted();
    const location = answer.headers.get('Location');
    this.#sessionUrl = location === null ? null : new URL(location, this.#url).toString();
    await pc.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
    signal.throwIfAborted();
    await this.onAnswered(pc);
    await this.#watch(signal, pc);
  }

  async #request(signal, url, method, body) {
    signal.throwIfAborted();
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), REQUEST_MS_MAX);
    const onAbort = () => timeout.abort();
    signal.addEventListener('abort', onAbort);
    try {
      const headers = authorizationOf(this.conf);
      if (body !== undefined) {
        headers['Content-Type'] = 'application/sdp';
      }
      return await fetch(url, { method, headers, body, signal: timeout.signal });
    } catch {
      throw new SessionError('unreachable', 'The server does not answer.');
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Rejects once the connection is of no more use. */
  #watch(signal, pc) {
    return new Promise((_, reject) => {
      let connected = false;
      let timer = null;
      const giveUpIn = (ms, kind, message) => {
        clearTimeout(timer);
        timer = ms === null ? null : setTimeout(() => reject(new SessionError(kind, message)), ms);
      };
      const noMediaPath = ['no-media-path', 'There is no media path to the server: its UDP port cannot be reached from here.'];
      const onChange = () => {
        // It was given up already, and is only open until the server knows.
        if (this.pc !== pc) {
          return;
        }
        const dtls = pc.getTransceivers()[0]?.sender.transport;
        if (pc.connectionState === 'closed' || dtls?.state === 'closed') {
          reject(new SessionError('ended', 'The server ended the session.'));
        } else if (pc.connectionState === 'failed') {
          reject(connected ? new SessionError('lost', 'The connection was lost.') : new SessionError(...noMediaPath));
        } else if (pc.connectionState === 'disconnected') {
          giveUpIn(DISCONNECTED_MS_MAX, 'lost', 'The connection was lost.');
        } else if (pc.connectionState === 'connected') {
          giveUpIn(null);
          if (!connected) {
            connected = true;
            this.conf.onConnected?.(pc);
          }
        }
      };
      signal.addEventListener('abort', () => {
        clearTimeout(timer);
        reject(signal.reason);
      });
      giveUpIn(CONNECT_MS_MAX, ...noMediaPath);
      pc.addEventListener('connectionstatechange', onChange);
      pc.getTransceivers()[0]?.sender.transport?.addEventListener('statechange', onChange);
      onChange();
    });
  }

  /**
   * Deletes the session at the server, also while the page unloads, and then closes the connection.
   * The other way round the server would learn of the end by DTLS first, and not know the session
   * any more that it is asked to delete.
   */
  #release(endedByServer = false) {
    const { pc } = this;
    const url = this.#sessionUrl;
    this.pc = null;
    this.#sessionUrl = null;
    if (url === null || endedByServer) {
      pc?.close();
      return;
    }
    const close = () => pc?.close();
    setTimeout(close, CLOSE_MS_MAX);
    // The session also ends by itself; a server that is gone needs no word.
    fetch(url, { method: 'DELETE', headers: authorizationOf(this.conf), keepalive: true }).then(close, close);
  }
}
