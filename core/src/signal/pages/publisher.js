// Publishes a MediaStream by WHIP. Classic script or module.
//
//   const publisher = new MediaMTXWebRTCPublisher({
//     url: 'https://host:8889/mystream/whip',
//     stream,                            // at most one video and one audio track of it are sent
//     videoCodec: 'H264',                // of MediaMTXWebRTCPublisher.videoCodecs()
//     videoBitrate: 1500,                // kbit/s, the most that is sent
//     audioCodec: 'opus',                // or 'G722', 'PCMU', 'PCMA'
//     audioBitrate: 64,                  // kbit/s
//     audioVoice: true,                  // false: music, which is sent in stereo
//     onConnected: (pc) => {},
//     onError: (message, error) => {},   // error.kind, error.status, error.retrying
//   });
//
// Also: user and pass, or token. Codecs may be written with their clock rate, as MediaMTX does
// ('h264/90000').

/** Video codecs that the server forwards, in the order in which a person is offered them. */
const VIDEO_CODECS = ['H264', 'VP8', 'VP9', 'AV1', 'H265'];

/** All that this browser encodes, repair formats included. */
const capabilities = (kind) => RTCRtpSender.getCapabilities?.(kind)?.codecs ?? [];

const nameOf = (codec) => codec.mimeType.split('/')[1].toUpperCase();

/** What every decoder of a codec takes comes first: the server settles on the first it is offered. */
const rankOf = (codec) => {
  const parameters = codec.sdpFmtpLine ?? '';
  const constrainedBaseline = /profile-level-id=42e0/i.test(parameters);
  const profile0 = !/(^|;)\s*profile(-id)?=[^0]/.test(parameters);
  return nameOf(codec) === 'H264'
    ? (/packetization-mode=1/.test(parameters) ? 0 : 2) + (constrainedBaseline ? 0 : 1)
    : profile0 ? 0 : 1;
};

/** Has only the wanted codec offered, and what repairs it, where this browser encodes it. */
const prefer = (transceiver, kind, wanted) => {
  const codecs = capabilities(kind);
  const chosen = codecs.filter((codec) => nameOf(codec) === wanted?.split('/')[0].toUpperCase());
  if (chosen.length > 0) {
    chosen.sort((a, b) => rankOf(a) - rankOf(b));
    transceiver.setCodecPreferences([...chosen, ...codecs.filter((codec) => nameOf(codec) === 'RTX')]);
  }
};

class MediaMTXWebRTCPublisher extends Session {
  /** The video codecs that this browser encodes and the server forwards. */
  static videoCodecs() {
    const offered = capabilities('video').map(nameOf);
    return VIDEO_CODECS.filter((codec) => offered.includes(codec));
  }

  /** Changes the most that is sent of the video, in kbit/s, also while it is sent. */
  async setVideoBitrate(kbps) {
    this.conf.videoBitrate = kbps;
    if (this.pc !== null) {
      await this.#limit(this.pc, 'video', kbps);
    }
  }

  addMedia(pc) {
    const { stream, audioCodec, videoCodec } = this.conf;
    for (const [[track], codec] of [[stream.getAudioTracks(), audioCodec], [stream.getVideoTracks(), videoCodec]]) {
      if (track !== undefined) {
        prefer(pc.addTransceiver(track, { direction: 'sendonly', streams: [stream] }), track.kind, codec);
      }
    }
  }

  editOffer(sdp) {
    return withNackForOpus(this.conf.audioVoice === false ? withStereoOpus(sdp) : sdp);
  }

  async onAnswered(pc) {
    await this.#limit(pc, 'video', this.conf.videoBitrate);
    await this.#limit(pc, 'audio', this.conf.audioBitrate);
  }

  async #limit(pc, kind, kbps) {
    const sender = pc.getSenders().find(({ track }) => track?.kind === kind);
    const parameters = sender?.getParameters();
    if (kbps > 0 && parameters?.encodings?.length > 0) {
      for (const encoding of parameters.encodings) {
        encoding.maxBitrate = kbps * 1000;
      }
      await sender.setParameters(parameters);
    }
  }
}

window.MediaMTXWebRTCPublisher = MediaMTXWebRTCPublisher;
