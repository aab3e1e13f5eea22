"""Publishes a synthetic picture and a tone from aiortc by WHIP.

Prints {"event": "publishing", …} once media flows, then, when the time is over or on SIGTERM,
what was sent as the last line.
"""

import argparse
import asyncio
import time

from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpSender
from av import AudioFrame, VideoFrame

import synthetic
from peer import Counts, Resource, arguments, report
from session import Session, run, stopped_or_after
from synthetic import AUDIO_FRAME, FPS, SAMPLE_RATE


class Paced(MediaStreamTrack):
    """A source whose n-th frame is due n periods after the first one."""

    def __init__(self, period: float) -> None:
        super().__init__()
        self.frames = 0
        self._period = period
        self._start: float | None = None

    async def turn(self) -> int:
        """Waits for the next frame's time; the frame's number."""
        if self._start is None:
            self._start = time.monotonic()
        number = self.frames
        self.frames += 1
        await asyncio.sleep(self._start + number * self._period - time.monotonic())
        return number


class Picture(Paced):
    """The synthetic picture."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__(1 / FPS)

    async def recv(self) -> VideoFrame:
        return synthetic.picture(await self.turn())


class Tone(Paced):
    """The synthetic tone."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__(AUDIO_FRAME / SAMPLE_RATE)

    async def recv(self) -> AudioFrame:
        return synthetic.tone(await self.turn())


async def main(options: argparse.Namespace) -> None:
    pc = RTCPeerConnection()
    picture, tone = Picture(), Tone()
    pc.addTransceiver(tone, direction="sendonly")
    video = pc.addTransceiver(picture, direction="sendonly")
    wanted = (f"video/{options.codec}".lower(), "video/rtx")
    video.setCodecPreferences(
        [c for c in RTCRtpSender.getCapabilities("video").codecs if c.mimeType.lower() in wanted]
    )

    session = Session(pc, Resource(options, "whip"))
    clicked = time.monotonic()
    try:
        await session.open()
        connected = time.monotonic()
        report(
            event="publishing",
            codec=options.codec,
            connect_seconds=round(connected - clicked, 3),
            srtp_profile=session.srtp_profile(),
            dtls_role=session.resource.dtls_role,
        )
        counting = Counts(lambda: picture.frames)
        await stopped_or_after(options.seconds)
        counts = counting.stop()
    finally:
        delete_status = await session.close()
    report(
        codec=options.codec,
        frames=picture.frames,
        counts=counts,
        audio_samples=tone.frames * AUDIO_FRAME,
        seconds=round(time.monotonic() - connected, 3),
        delete_status=delete_status,
    )


parser = arguments("Publish from aiortc by WHIP.")
parser.add_argument("--codec", choices=["VP8", "H264"], default="VP8")
if __name__ == "__main__":
    run(main, parser.parse_args())
