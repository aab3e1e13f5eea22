// What a page's RTCPeerConnection says of itself (W3C webrtc-stats), as one flat object.

/** For `page.evaluate`: runs within the page. Null while there is no connection. */
export async function sample() {
  const { pc } = window.kvill;
  if (pc === null) {
    return null;
  }
  const report = await pc.getStats();
  const all = [...report.values()];
  // A layer that the answer did not take is there, and inactive.
  const stream = (type, kind) =>
    all.find((entry) => entry.type === type && entry.kind === kind && entry.active !== false) ?? {};
  const transport = all.find((entry) => entry.type === 'transport') ?? {};
  const pair = report.get(transport.selectedCandidatePairId) ?? {};
  const codecOf = ({ codecId }) => report.get(codecId)?.mimeType.split('/')[1] ?? null;
  const outVideo = stream('outbound-rtp', 'video');
  const inVideo = stream('inbound-rtp', 'video');
  const inAudio = stream('inbound-rtp', 'audio');
  const sends = outVideo.id !== undefined;
  return {
    // When these numbers were taken, in milliseconds: only differences mean anything.
    at: (sends ? outVideo : inVideo).timestamp,
    videoCodec: codecOf(sends ? outVideo : inVideo),
    audioCodec: codecOf(sends ? stream('outbound-rtp', 'audio') : inAudio),
    framesEncoded: outVideo.framesEncoded ?? 0,
    framesDecoded: inVideo.framesDecoded ?? 0,
    framesDropped: inVideo.framesDropped ?? 0,
    width: (sends ? outVideo : inVideo).frameWidth ?? 0,
    height: (sends ? outVideo : inVideo).frameHeight ?? 0,
    packetsReceived: (inVideo.packetsReceived ?? 0) + (inAudio.packetsReceived ?? 0),
    packetsLost: (inVideo.packetsLost ?? 0) + (inAudio.packetsLost ?? 0),
    nacks: (sends ? outVideo : inVideo).nackCount ?? 0,
    keyframeRequests: (sends ? outVideo : inVideo).pliCount ?? 0,
    // Packets that were sent again, and of those received the ones that were.
    resent: (sends ? outVideo.retransmittedPacketsSent : inVideo.retransmittedPacketsReceived) ?? 0,
    keyframes: (sends ? outVideo.keyFramesEncoded : inVideo.keyFramesDecoded) ?? 0,
    freezes: inVideo.freezeCount ?? 0,
    frozenMs: Math.round((inVideo.totalFreezesDuration ?? 0) * 1000),
    audioSamples: inAudio.totalSamplesReceived ?? 0,
    audioConcealed: inAudio.concealedSamples ?? 0,
    // Where ICE found the server.
    remoteAddress: report.get(pair.remoteCandidateId)?.address ?? null,
    srtpCipher: transport.srtpCipher ?? null,
    // The server's part in DTLS by its answer: who is passive waits for the hello (RFC 8842).
    dtlsRole: { passive: 'server', active: 'client' }[/^a=setup:(\w+)/m.exec(pc.remoteDescription?.sdp)?.[1]] ?? null,
    // The version as on the wire: fefd is DTLS 1.2, fefc is DTLS 1.3.
    dtlsVersion: { FEFD: '1.2', FEFC: '1.3' }[transport.tlsVersion?.toUpperCase()] ?? transport.tlsVersion ?? null,
    dtlsCipher: transport.dtlsCipher ?? null,
  };
}

/**
 * For `context.addInitScript`: notes when a person clicked (also on the page before), and when the
 * first picture of the page's video was shown: `firstFrameMs` between them, in milliseconds.
 */
export function watchFirstFrame() {
  const clock = () => performance.timeOrigin + performance.now();
  addEventListener('click', () => sessionStorage.setItem('clickedAt', clock()), true);
  addEventListener('DOMContentLoaded', () => {
    document.querySelector('video')?.requestVideoFrameCallback(() => {
      window.firstFrameMs = clock() - Number(sessionStorage.getItem('clickedAt'));
    });
  });
}

/** Rows of cells as lines, in columns. The first column is left-aligned, the others right. */
export function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => String(row[column]).length)));
  return rows
    .map((row) => row.map((cell, at) => (at === 0 ? String(cell).padEnd(widths[at]) : String(cell).padStart(widths[at]))).join('  '))
    .join('\n');
}
