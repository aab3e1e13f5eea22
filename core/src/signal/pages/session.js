// What the reader and the publisher have in common: one WHIP or WHEP session after another, until
// close(). The server puts this file before each of the two, within one function scope.
//
// The server is ICE-lite: it learns where its peer is from the checks that arrive. So the offer
// leaves at once, without candidates, and none follow it. When the network changes, ICE begins anew
// by a PATCH (RFC 9725 §4.3.3), within the same session: media goes on where it left off.

/** The pause before the next attempt. Up to a quarter is added, so that viewers do not return in step. */
const RETRY_MS = 2000;
/** The longest pause that a server may ask for. */
const RETRY_MS_MAX = 60000;
/** How long one HTTP request may take. */
const REQUEST_MS_MAX = 10000;
/** How long ICE and DTLS may take. The server gives up a second later. */
const CONNECT_MS_MAX = 9000;
/** How long a connection that is given up may wait for the server's word. */
const CLOSE_MS_MAX = 1000;
/** How long a connection may stay `disconnected` (which it is after some silent seconds) before ICE is restarted. */
const DISCONNECTED_MS_MAX = 500;
/**
 * How long nothing may arrive before ICE is restarted. The server has something to say every second,
 * and browsers take five or more to find a connection `disconnected`. Patience doubles with each
 * such restart, until it has been loud for a while: should silence be normal here, that is no storm.
 */
const SILENCE_MS_MAX = 2500;
const SILENCE_POLL_MS = 500;
const LOUD_MS = 8000;
/**
 * How long a restart may take before a new session takes its place. The server forgets a session
 * after 15 silent seconds, of which some have passed before the browser notices the silence.
 */
const RESTART_MS_MAX = 6000;
/** How long one request for a restart may take: it may have left by a network that is no more. */
const RESTART_REQUEST_MS_MAX = 2000;
/** The pause before a restart is asked for again, where the server could not be reached. */
const RESTART_PAUSE_MS = 500;

const NO_ANSWER = 'The server does not answer.';

/**
 * Why an attempt ended. `kind` is for programs, `message` for people, in whole sentences:
 *
 * - `no-stream`: nobody publishes on the path (404)
 * - `refused`: any other refusal by the server, in its own words; `status` is the HTTP status
 * - `unreachable`: no answer to an HTTP request
 * - `no-media-path`: HTTP works, but ICE and DTLS came to nothing; `reason` is how far the server saw
 *   them come, for whoever runs it
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
    this.reason = '';
    /** How long to wait before the next attempt. */
    this.pauseMs = RETRY_MS;
  }
}

/** A refusal in the server's own words: `{"status":"error","error":"…"}`, made a sentence. */
const refusalOf = async (response) => {
  const { status } = response;
  const body = await response.json().catch(() => null);
  const words = typeof body?.error === 'string' && body.error !== '' ? body.error : `the server answered with HTTP status ${status}`;
  const sentence = words[0].toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? '' : '.');
  const refusal = new SessionError(status === 404 ? 'no-stream' : 'refused', sentence, status);
  // A server that is full says when there may be a place.
  refusal.pauseMs = Math.max(RETRY_MS, Math.min(Number(response.headers.get('Retry-After')) * 1000, RETRY_MS_MAX) || 0);
  return refusal;
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

/** What of an offer a restart of ICE is about: the new credentials, and a section that has them (RFC 8840 §9). */
const fragmentOf = (offer) => {
  const lines = offer.split(/\r?\n/);
  const wanted = ['a=ice-ufrag:', 'a=ice-pwd:', 'm=', 'a=mid:'];
  return wanted.map((start) => `${lines.find((line) => line.startsWith(start))}\r\n`).join('');
};

/** The answer from before a restart, with the credentials that the server's fragment has; throws where it has none. */
const withCredentialsOf = (fragment, answer) => {
  const [ufrag] = /^a=ice-ufrag:\S+/m.exec(fragment);
  const [pwd] = /^a=ice-pwd:\S+/m.exec(fragment);
  return answer.replace(/^a=ice-ufrag:\S+/gm, ufrag).replace(/^a=ice-pwd:\S+/gm, pwd);
};

/** Asks for stereo, which browsers send and decode only if both sides say so (RFC 7587 §7). */
const withStereoOpus = (sdp) => {
  const opus = [...sdp.matchAll(/^a=rtpmap:(\d+) opus\/48000\/2\r?$/gim)].map((match) => match[1]);
  return sdp.replace(/^a=fmtp:(\d+) (.*?)(\r?)$/gm, (line, payloadType, parameters, end) =>
    opus.includes(payloadType) && !/(^|;)\s*stereo=/.test(parameters)
      ? `a=fmtp:${payloadType} ${parameters};stereo=1${end}`
      : line);
};

/** Browsers ask for lost sound again, and send it again, where that is agreed on, but do not offer it by themselves. */
const withNackForOpus = (sdp) => sdp.replace(/^a=rtpmap:(\d+) opus\/48000\/2(\r?)$/gim, (line, payloadType, end) =>
  new RegExp(`^a=rtcp-fb:${payloadType} nack\r?$`, 'm').test(sdp) ? line : `${line}\na=rtcp-fb:${payloadType} nack${end}`);

/** The `Authorization` header of a configuration, if it names any credentials. */
const authorizationOf = ({ user, pass, token }) => {
  if (user) {
    const bytes = new TextEncoder().encode(`${user}:${pass ?? ''}`);
    return { Authorization: `Basic ${btoa(String.fromCharCode(...bytes))}` };
  }
  return token ? { Authorization: `Bearer ${token}` } : {};
};

/** How many packets have arrived; always another number where the browser does not count them. */
const packetsReceived = async (pc) => {
  const transport = [...(await pc.getStats()).values()].find(({ type }) => type === 'transport');
  return transport?.packetsReceived ?? NaN;
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
   * `error.retrying` says whether another attempt follows, which is not before a promise that
   * `onError` gives has settled. `onConnected(pc)` is told when ICE and DTLS are done.
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
      let pauseMs = RETRY_MS;
      try {
        await this.#attempt(signal);
      } catch (thrown) {
        if (signal.aborted) {
          return;
        }
        const error = thrown instanceof SessionError ? thrown : new SessionError('unsupported', thrown.message);
        const reason = this.#release(thrown.kind === 'ended');
        if (thrown.kind === 'no-media-path') {
          error.reason = await reason;
          error.message = `${error.message} ${error.reason}`.trimEnd();
          if (signal.aborted) {
            return;
          }
        }
        // Wrong credentials stay wrong, and a server may count them.
        error.retrying = error.status !== 401 && error.status !== 403;
        // A page that fails in here goes on nevertheless.
        await (async () => this.conf.onError?.(error.message, error))().catch(reportError);
        if (!error.retrying) {
          return;
        }
        ({ pauseMs } = error);
      }
      await new Promise((done) => setTimeout(done, pauseMs + Math.random() * RETRY_MS / 4));
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
    const answered = await answer.text().catch(() => {
      throw new SessionError('unreachable', NO_ANSWER);
    });
    await pc.setRemoteDescription({ type: 'answer', sdp: answered });
    signal.throwIfAborted();
    await this.onAnswered(pc);
    await this.#watch(signal, pc);
  }

  async #request(signal, url, method, body, { type = 'application/sdp', headers = {}, ms = REQUEST_MS_MAX } = {}) {
    signal.throwIfAborted();
    // Neither ends with the head of the answer: its body has to come in time, too.
    const limit = new AbortController();
    const end = () => limit.abort();
    setTimeout(end, ms);
    signal.addEventListener('abort', end, { signal: limit.signal });
    try {
      Object.assign(headers, authorizationOf(this.conf));
      if (body !== undefined) {
        headers['Content-Type'] = type;
      }
      return await fetch(url, { method, headers, body, signal: limit.signal });
    } catch {
      throw new SessionError('unreachable', NO_ANSWER);
    }
  }

  /** Rejects once the connection is of no more use. */
  async #watch(signal, pc) {
    const dtls = pc.getTransceivers()[0]?.sender.transport;
    const lost = ['lost', 'The connection was lost.'];
    const ended = ['ended', 'The server ended the session.'];
    const noMediaPath = ['no-media-path', 'There is no media path to the server: its UDP port cannot be reached from here.'];
    const noEncryption = ['unsupported', 'It could not agree with the server on how to encrypt (DTLS).'];
    let connected = false;
    let timer = null;
    let restarting = null;
    let heard = 0;
    let heardAt = performance.now();
    let loudSince = heardAt;
    let patienceMs = SILENCE_MS_MAX;
    let giveUp = null;
    const end = new Promise((_, reject) => {
      giveUp = ([kind, message], pauseMs = RETRY_MS) => reject(Object.assign(new SessionError(kind, message), { pauseMs }));
    });
    const within = (ms, act) => {
      clearTimeout(timer);
      timer = act && setTimeout(act, ms);
    };

    // One at a time: where the network has changed once more, the later one counts.
    const restart = async () => {
      restarting?.abort();
      const mine = new AbortController();
      restarting = mine;
      within(RESTART_MS_MAX, () => {
        // Nothing was lost, it only cannot be restarted: the way of before is as good as ever.
        if (pc.connectionState === 'connected' && performance.now() - heardAt < SILENCE_MS_MAX) {
          mine.abort();
          within(0, null);
        } else {
          giveUp(lost);
        }
      });
      try {
        await this.#restart(mine.signal, pc);
      } catch (error) {
        if (!mine.signal.aborted) {
          // The server is there, but not the session: nothing to wait for.
          giveUp(error.status === 404 ? ended : lost, 0);
        }
        return;
      }
      if (!mine.signal.aborted && pc.connectionState === 'connected') {
        within(0, null);
      }
    };
    const onChange = () => {
      const { connectionState } = pc;
      // It was given up already, and is only open until the server knows.
      if (this.pc !== pc) {
        return;
      }
      if (connectionState === 'closed' || dtls?.state === 'closed') {
        giveUp(ended);
      } else if (connectionState === 'connected') {
        within(0, null);
        heardAt = performance.now();
        if (!connected) {
          connected = true;
          this.conf.onConnected?.(pc);
        }
      } else if (dtls?.state === 'failed') {
        giveUp(connected ? lost : noEncryption);
      } else if (connectionState === 'failed' && !connected) {
        giveUp(noMediaPath);
      } else if (connected && timer === null && ['disconnected', 'failed'].includes(connectionState)) {
        within(DISCONNECTED_MS_MAX, restart);
      }
    };
    // Another network, before the silence of the old one is noticed.
    const network = navigator.connection;
    let networkType = network?.type;
    const onNetwork = ({ type }) => {
      const same = type === 'change' && network.type === networkType;
      networkType = network?.type;
      if (connected && !same) {
        restart();
      }
    };
    const listen = async () => {
      const received = await packetsReceived(pc);
      if (this.pc !== pc) {
        return;
      }
      const now = performance.now();
      if (received !== heard || !connected) {
        [heard, heardAt] = [received, now];
        patienceMs = now - loudSince > LOUD_MS ? SILENCE_MS_MAX : patienceMs;
      } else if (now - heardAt > SILENCE_MS_MAX) {
        loudSince = now;
        if (now - heardAt > patienceMs && timer === null) {
          patienceMs *= 2;
          restart();
        }
      }
    };
    const onAbort = () => giveUp(lost);

    const listening = setInterval(listen, SILENCE_POLL_MS);
    signal.addEventListener('abort', onAbort);
    window.addEventListener('online', onNetwork);
    network?.addEventListener?.('change', onNetwork);
    pc.addEventListener('connectionstatechange', onChange);
    dtls?.addEventListener('statechange', onChange);
    within(CONNECT_MS_MAX, () => giveUp(noMediaPath));
    onChange();
    try {
      await end;
    } finally {
      within(0, null);
      clearInterval(listening);
      restarting?.abort();
      signal.removeEventListener('abort', onAbort);
      window.removeEventListener('online', onNetwork);
      network?.removeEventListener?.('change', onNetwork);
    }
  }

  /**
   * Restarts ICE: another way to the server for the session at hand, whose media goes on. Where the
   * server cannot be reached it is asked again, by a fresh offer, which knows the network as it then is.
   */
  async #restart(signal, pc) {
    let sdp;
    let response = null;
    while (response === null) {
      const offer = await pc.createOffer({ iceRestart: true });
      signal.throwIfAborted();
      sdp = this.editOffer(offer.sdp);
      await pc.setLocalDescription({ type: 'offer', sdp });
      try {
        response = await this.#request(signal, this.#sessionUrl, 'PATCH', fragmentOf(sdp), {
          type: 'application/trickle-ice-sdpfrag', headers: { 'If-Match': '*' }, ms: RESTART_REQUEST_MS_MAX,
        });
      } catch {
        await new Promise((done) => setTimeout(done, RESTART_PAUSE_MS));
        signal.throwIfAborted();
      }
    }
    if (response.status !== 200) {
      throw await refusalOf(response);
    }
    const fragment = await response.text();
    const answer = withCredentialsOf(fragment, pc.remoteDescription.sdp);
    signal.throwIfAborted();
    await pc.setRemoteDescription({ type: 'answer', sdp: answer });
    const [, sdpMid] = /^a=mid:(\S+)/m.exec(sdp);
    for (const [, candidate] of fragment.matchAll(/^a=(candidate:.*\S)\s*$/gm)) {
      await pc.addIceCandidate({ candidate, sdpMid });
    }
  }

  /**
   * Deletes the session at the server, also while the page unloads, and then closes the connection.
   * The other way round the server would learn of the end by DTLS first, and not know the session
   * any more that it is asked to delete. What the server then says of a handshake that came to nothing
   * is the result, as a sentence to add.
   */
  async #release(endedByServer = false) {
    const { pc } = this;
    const url = this.#sessionUrl;
    this.pc = null;
    this.#sessionUrl = null;
    if (url === null || endedByServer) {
      pc?.close();
      return '';
    }
    const late = new Promise((done) => setTimeout(done, CLOSE_MS_MAX));
    // The session also ends by itself; a server that is gone needs no word.
    const deleted = fetch(url, { method: 'DELETE', headers: authorizationOf(this.conf), keepalive: true });
    const answer = await Promise.race([deleted.then((response) => response.json()).catch(() => null), late]);
    pc?.close();
    return typeof answer?.reason === 'string' ? `The server says: ${answer.reason}.` : '';
  }
}
