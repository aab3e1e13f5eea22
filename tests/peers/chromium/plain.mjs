// WHIP and WHEP in a few lines, for offers that the server's pages do not make.

/**
 * For `context.addInitScript`: runs within the page before anything else, and gives it
 * `exchange(pc, url)`, which brings the offer of `pc` to the server and takes the answer, and
 * `withdraw(pc)`, which deletes the session, the last one if none is named, and gives the status.
 */
export function plainSession() {
  const locations = new WeakMap();
  window.exchange = async (pc, url) => {
    // `sample` of measure.mjs looks for it there.
    Object.defineProperty(window, 'kvill', { value: { pc }, configurable: true });
    await pc.setLocalDescription();
    while (pc.iceGatheringState !== 'complete') {
      await new Promise((resolve) => pc.addEventListener('icegatheringstatechange', resolve, { once: true }));
    }
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/sdp' },
      body: pc.localDescription.sdp,
    });
    const sdp = await response.text();
    if (response.status !== 201) {
      throw new Error(`POST ${url}: ${response.status} ${sdp}`);
    }
    locations.set(pc, new URL(response.headers.get('Location'), url));
    await pc.setRemoteDescription({ type: 'answer', sdp });
    return sdp;
  };
  window.withdraw = async (pc = window.kvill.pc) => (await fetch(locations.get(pc), { method: 'DELETE' })).status;
}

/** For `page.waitForFunction`: whether ICE and DTLS are done. */
export const connected = () => window.kvill.pc.connectionState === 'connected';
