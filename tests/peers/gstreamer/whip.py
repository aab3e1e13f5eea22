"""Publishes a test picture and a tone from GStreamer's webrtcbin by WHIP.

Prints {"event": "publishing", …} once media flows, then, when the time is over or on SIGTERM,
what was sent as the last line.
"""

import argparse
import time

from session import Session, element_from, start

from gi.repository import Gst, GstWebRTC
from peer import Counts, Failed, Stop, arguments, report, run

VP8 = (
    "vp8enc deadline=1 cpu-used=8 target-bitrate=400000 keyframe-max-dist=60 name=encoder ! "
    "rtpvp8pay picture-id-mode=15-bit ! "
    "capsfilter caps=application/x-rtp,media=video,encoding-name=VP8,payload=96"
)
H264 = (
    "x264enc tune=zerolatency speed-preset=ultrafast bitrate=400 key-int-max=60 {tools} "
    "name=encoder ! video/x-h264,profile={profile} ! "
    "rtph264pay config-interval=-1 aggregate-mode=zero-latency ! "
    "capsfilter caps=application/x-rtp,media=video,encoding-name=H264,payload=102"
)
# The fastest preset of x264 makes use of no tool beyond Baseline, so that its pictures would not
# be of the profile that they claim.
TOOLS = {
    "constrained-baseline": "",
    "main": "cabac=true",
    "high": "cabac=true dct8x8=true",
}
VIDEO = (
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1 ! "
    "videoconvert ! queue ! {encoder}"
)
AUDIO = (
    "audiotestsrc is-live=true freq=450 volume=0.25 ! audioconvert ! audioresample ! "
    "audio/x-raw,rate=48000,channels=2 ! queue ! opusenc ! rtpopuspay ! "
    "capsfilter caps=application/x-rtp,media=audio,encoding-name=OPUS,payload=111"
)


class Frames:
    """Counts what leaves the encoder."""

    def __init__(self, encoder: Gst.Element) -> None:
        self.count = 0
        encoder.get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, self._on_buffer)

    def _on_buffer(self, *_: object) -> Gst.PadProbeReturn:
        self.count += 1
        return Gst.PadProbeReturn.OK


def send_only(webrtc: Gst.Element) -> None:
    """What has a source pad offers to receive as well, if it is not told otherwise."""
    index = 0
    while (transceiver := webrtc.emit("get-transceiver", index)) is not None:
        transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
        transceiver.set_property("do-nack", True)
        index += 1


def wait_for_caps(webrtc: Gst.Element, stop: Stop) -> None:
    """Waits until both payloaders have said what they make, which is what the offer says."""
    deadline = time.monotonic() + 5
    while not all(pad.get_current_caps() for pad in webrtc.sinkpads):
        if time.monotonic() > deadline or stop.wait(0.02):
            raise Failed("the encoders made nothing")


def main(options: argparse.Namespace) -> None:
    stop = Stop()
    start(options)
    session = Session(options, "whip")
    pipeline, webrtc = session.pipeline, session.webrtc
    h264 = H264.format(profile=options.profile, tools=TOOLS[options.profile])
    encoder = {"VP8": VP8, "H264": h264}[options.codec]
    video, audio = element_from(VIDEO.format(encoder=encoder)), element_from(AUDIO)
    frames = Frames(video.get_by_name("encoder"))
    for source in (video, audio):
        pipeline.add(source)
        source.link(webrtc)
    send_only(webrtc)

    clicked = time.monotonic()
    counts: list[tuple[float, int]] = []
    try:
        pipeline.set_state(Gst.State.PLAYING)
        wait_for_caps(webrtc, stop)
        session.open()
        connected = time.monotonic()
        report(
            event="publishing",
            codec=options.codec,
            connect_seconds=round(connected - clicked, 3),
            srtp_profile=session.srtp_profile(),
            dtls_role=session.resource.dtls_role,
        )
        counting = Counts(lambda: frames.count)
        while (left := connected + options.seconds - time.monotonic()) > 0:
            if stop.wait(min(left, 0.25)):
                break
            session.check()
        counts = counting.stop()
    finally:
        delete_status = session.close()
    report(
        codec=options.codec,
        frames=frames.count,
        counts=counts,
        seconds=round(time.monotonic() - connected, 3),
        delete_status=delete_status,
    )


parser = arguments("Publish from GStreamer by WHIP.")
parser.add_argument("--codec", choices=["VP8", "H264"], default="VP8")
parser.add_argument(
    "--profile",
    choices=list(TOOLS),
    default="constrained-baseline",
    help="of H264 (default: constrained-baseline)",
)
if __name__ == "__main__":
    run(main, parser.parse_args())
