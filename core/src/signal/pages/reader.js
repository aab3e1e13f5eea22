// Plays a stream by WHEP. The class keeps the name and the configuration of MediaMTX's reader.js,
// so that pages which embed that one can embed this one: as a classic script, or as a module.
//
//   new MediaMTXWebRTCReader({
//     url: 'https://host:8889/mystream/whep',
//     onTrack: (event) => { video.srcObject = event.streams[0]; },
//     onError: (message, error) => {},   // error.kind, error.status, error.retrying
//   });
//
// Also: user and pass, or token; onConnected(pc); onDataChannel(event), which asks for a data
// channel, as nothing else does.

class MediaMTXWebRTCReader extends Session {
  addMedia(pc) {
    pc.addTransceiver('video', { direction: 'recvonly' });
    pc.addTransceiver('audio', { direction: 'recvonly' });
    pc.addEventListener('track', (event) => {
      // It may have been closed while its answer was read.
      if (this.pc === pc) {
        this.conf.onTrack?.(event);
      }
    });
    if (this.conf.onDataChannel) {
      pc.createDataChannel('');
      pc.addEventListener('datachannel', (event) => this.conf.onDataChannel(event));
    }
  }

  editOffer(sdp) {
    return withNackForOpus(withStereoOpus(sdp));
  }
}

window.MediaMTXWebRTCReader = MediaMTXWebRTCReader;
