"""Publishes a synthetic picture and a tone from aiortc by WHIP.

Prints {"event": "publishing", …} once media flows, then, when the time is over or on SIGTERM,
what was sent as the last line.
"""

import argparse
import asyncio
import math
import time
from array import array
from fractions import Fraction

from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpSender
from av import AudioFrame, VideoFrame

from session import Session, arguments, report, run, stopped_or_after

WIDTH, HEIGHT, FPS = 320, 240, 30
RTP_CLOCK = 90_000
SAMPLE_RATE = 48_000
AUDIO_FRAME = SAMPLE_RATE // 50
# Nine whole periods fit into one 20 ms frame, so that frame after frame is one unbroken tone.
TONE_HZ = 450


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
    """Diagonal stripes that move by two pixels a frame and change their colour."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__(1 / FPS)
        ramp = bytes(abs((i * 4) % 511 - 255) for i in range(WIDTH + 512))
        self._ramp = ramp + ramp

    async def recv(self) -> VideoFrame:
        number = await self.turn()
        frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
        luma, *chroma = frame.planes
        stride = luma.line_size
        luma.update(
            b"".join(
                self._ramp[shift : shift + stride]
                for shift in ((row + 2 * number) % 512 for row in range(HEIGHT))
            )
        )
        for step, plane in enumerate(chroma, start=1):
            plane.update(bytes([(number * step) % 256]) * plane.buffer_size)
        frame.pts = number * RTP_CLOCK // FPS
        frame.time_base = Fraction(1, RTP_CLOCK)
        return frame


class Tone(Paced):
    """A sine at a quarter of full scale."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__(AUDIO_FRAME / SAMPLE_RATE)
        self._samples = array(
            "h",
            (
                round(8191 * math.sin(2 * math.pi * TONE_HZ * i / SAMPLE_RATE))
                for i in range(AUDIO_FRAME)
            ),
        ).tobytes()

    async def recv(self) -> AudioFrame:
        number = await self.turn()
        frame = AudioFrame(format="s16", layout="mono", samples=AUDIO_FRAME)
        frame.planes[0].update(self._samples)
        frame.pts = number * AUDIO_FRAME
        frame.sample_rate = SAMPLE_RATE
        frame.time_base = Fraction(1, SAMPLE_RATE)
        return frame


async def keep_count(picture: Picture, counts: list[tuple[float, int]]) -> None:
    """Notes four times a second how many frames there were, by the wall clock."""
    while True:
        counts.append((round(time.time(), 3), picture.frames))
        await asyncio.sleep(0.25)


async def main(options: argparse.Namespace) -> None:
    pc = RTCPeerConnection()
    picture, tone = Picture(), Tone()
    pc.addTransceiver(tone, direction="sendonly")
    video = pc.addTransceiver(picture, direction="sendonly")
    wanted = (f"video/{options.codec}".lower(), "video/rtx")
    video.setCodecPreferences(
        [c for c in RTCRtpSender.getCapabilities("video").codecs if c.mimeType.lower() in wanted]
    )

    session = Session(pc, f"{options.base.rstrip('/')}/{options.path}/whip")
    counts: list[tuple[float, int]] = []
    clicked = time.monotonic()
    try:
        await session.open()
        connected = time.monotonic()
        report(
            event="publishing",
            codec=options.codec,
            connect_seconds=round(connected - clicked, 3),
            srtp_profile=session.srtp_profile(),
        )
        counting = asyncio.ensure_future(keep_count(picture, counts))
        await stopped_or_after(options.seconds)
        counting.cancel()
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
