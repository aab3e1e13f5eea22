"""Plays a stream with GStreamer's webrtcbin by WHEP, and counts what was decoded.

The counting window opens a second after the first decoded picture. Prints one line: what was
decoded in it.
"""

import argparse
import threading
import time

from session import Session, element_from, start

from gi.repository import Gst, GstWebRTC
from peer import FIRST_FRAME_SECONDS, SETTLE_SECONDS, Failed, Stop, arguments, report, run

# 1.22 has no depayloader for AV1.
VIDEO_CAPS = ";".join(
    f"application/x-rtp,media=video,clock-rate=90000,{caps}"
    for caps in (
        "encoding-name=VP8,payload=96",
        "encoding-name=VP9,payload=98",
        "encoding-name=H264,payload=102,packetization-mode=(string)1,"
        "profile-level-id=(string)42e01f",
    )
)
AUDIO_CAPS = (
    "application/x-rtp,media=audio,clock-rate=48000,encoding-name=OPUS,payload=111,"
    "encoding-params=(string)2"
)
SINK = "fakesink name=sink sync=false signal-handoffs=true"
DECODERS = {
    "VP8": f"rtpvp8depay ! vp8dec ! {SINK}",
    "VP9": f"rtpvp9depay ! vp9dec ! {SINK}",
    "H264": f"rtph264depay ! h264parse ! avdec_h264 ! {SINK}",
    "OPUS": f"rtpopusdepay ! opusdec ! audio/x-raw,format=S16LE ! {SINK}",
}
BYTES_PER_SAMPLE = 2


class Count:
    """What was decoded, by time of arrival."""

    def __init__(self, pipeline: Gst.Pipeline) -> None:
        self.first_frame = threading.Event()
        self.first_frame_at = 0.0
        self.frames = 0
        self.audio_samples = 0
        self.size: tuple[int, int] | None = None
        self.codec: str | None = None
        self.complaint: str | None = None
        self._pipeline = pipeline

    def on_pad(self, _: Gst.Element, pad: Gst.Pad) -> None:
        if pad.direction != Gst.PadDirection.SRC:
            return
        try:
            self._play(pad)
        except Failed as failed:
            self.complaint = str(failed)

    def _play(self, pad: Gst.Pad) -> None:
        """Puts a decoder behind a track of the stream."""
        rtp = pad.get_current_caps().get_structure(0)
        encoding = rtp.get_string("encoding-name").upper()
        if encoding not in DECODERS:
            raise Failed(f"a track came in {encoding}")
        if rtp.get_string("media") == "video":
            self.codec = encoding
        decoder = element_from(f"queue ! {DECODERS[encoding]}")
        handoff = self._on_sound if encoding == "OPUS" else self._on_picture
        decoder.get_by_name("sink").connect("handoff", handoff)
        self._pipeline.add(decoder)
        decoder.sync_state_with_parent()
        pad.link(decoder.sinkpads[0])

    def _on_picture(self, _: Gst.Element, __: Gst.Buffer, pad: Gst.Pad) -> None:
        if not self.first_frame.is_set():
            raw = pad.get_current_caps().get_structure(0)
            self.size = (raw.get_int("width").value, raw.get_int("height").value)
            self.first_frame_at = time.monotonic()
            self.first_frame.set()
        self.frames += 1

    def _on_sound(self, _: Gst.Element, buffer: Gst.Buffer, pad: Gst.Pad) -> None:
        if self.first_frame.is_set():
            channels = pad.get_current_caps().get_structure(0).get_int("channels").value
            self.audio_samples += buffer.get_size() // (channels * BYTES_PER_SAMPLE)


def main(options: argparse.Namespace) -> None:
    stop = Stop()
    start(options)
    session = Session(options, "whep")
    pipeline, webrtc = session.pipeline, session.webrtc
    webrtc.set_property("latency", options.latency)
    count = Count(pipeline)
    webrtc.connect("pad-added", count.on_pad)

    clicked = time.monotonic()
    try:
        # webrtcbin takes transceivers and promises only once it runs.
        pipeline.set_state(Gst.State.PLAYING)
        receive = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
        for caps in (AUDIO_CAPS, VIDEO_CAPS):
            transceiver = webrtc.emit("add-transceiver", receive, Gst.Caps.from_string(caps))
            transceiver.set_property("do-nack", True)
        session.open()
        connected = time.monotonic()
        while not count.first_frame.wait(0.02):
            session.check()
            if count.complaint is not None:
                raise Failed(count.complaint)
            if time.monotonic() > connected + FIRST_FRAME_SECONDS:
                raise Failed(
                    f"connected, but no picture within {FIRST_FRAME_SECONDS} s; "
                    f"codec {count.codec}, SRTP {session.srtp_profile()}"
                )
        settled = not stop.wait(SETTLE_SECONDS)
        start_at, before = time.time(), (count.frames, count.audio_samples)
        if not settled or stop.wait(options.seconds):
            raise Failed("asked to end before the window was over")
        window = (round(start_at, 3), round(time.time(), 3))
        frames, audio_samples = count.frames - before[0], count.audio_samples - before[1]
        session.check()
        profile = session.srtp_profile()
    finally:
        delete_status = session.close()
    report(
        codec=count.codec,
        frames=frames,
        audio_samples=audio_samples,
        width=count.size[0],
        height=count.size[1],
        window=window,
        connect_seconds=round(connected - clicked, 3),
        first_frame_seconds=round(count.first_frame_at - clicked, 3),
        srtp_profile=profile,
        dtls_role=session.resource.dtls_role,
        delete_status=delete_status,
    )


parser = arguments("Play with GStreamer by WHEP.")
parser.add_argument(
    "--latency",
    type=int,
    default=200,
    help="how long it waits for packets, in milliseconds (default: 200)",
)
if __name__ == "__main__":
    run(main, parser.parse_args())
