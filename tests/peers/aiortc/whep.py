"""Plays a stream with aiortc by WHEP, and counts what was decoded.

The counting window opens a second after the first decoded picture. Prints one line: what was
decoded in it.
"""

import argparse
import asyncio
import time

from aiortc import MediaStreamTrack, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError

from peer import FIRST_FRAME_SECONDS, SETTLE_SECONDS, Failed, Resource, arguments, report
from session import Session, run


class Count:
    """What arrived on the tracks, by time of arrival."""

    def __init__(self) -> None:
        self.first_frame = asyncio.Event()
        self.first_frame_at = 0.0
        self.frames = 0
        self.audio_samples = 0
        self.size: tuple[int, int] | None = None
        self.tracks: list[asyncio.Task] = []
        self.ended: set[str] = set()

    def on_track(self, track: MediaStreamTrack) -> None:
        self.tracks.append(asyncio.ensure_future(self._consume(track)))

    async def _consume(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                frame = await track.recv()
                if track.kind == "video":
                    self._picture(frame.width, frame.height)
                elif self.first_frame.is_set():
                    self.audio_samples += frame.samples
        except MediaStreamError:
            self.ended.add(track.kind)

    def _picture(self, width: int, height: int) -> None:
        if not self.first_frame.is_set():
            self.first_frame_at = time.monotonic()
            self.first_frame.set()
        self.frames += 1
        self.size = (width, height)


def negotiated_video(pc: RTCPeerConnection) -> str | None:
    """The codec that the answer put first for the video; aiortc has no public way to ask."""
    for transceiver in pc.getTransceivers():
        codecs = getattr(transceiver, "_codecs", [])
        if transceiver.kind == "video" and codecs:
            return codecs[0].mimeType.split("/")[1]
    return None


async def packets(pc: RTCPeerConnection) -> dict[str, int]:
    """Video packets received and lost so far; of RTX alone, once there was any."""
    for transceiver in pc.getTransceivers():
        if transceiver.kind == "video":
            for stats in (await transceiver.receiver.getStats()).values():
                if stats.type == "inbound-rtp":
                    return {"packets": stats.packetsReceived, "packets_lost": stats.packetsLost}
    return {}


async def main(options: argparse.Namespace) -> None:
    pc = RTCPeerConnection()
    count = Count()
    pc.on("track", count.on_track)
    pc.addTransceiver("audio", direction="recvonly")
    pc.addTransceiver("video", direction="recvonly")

    session = Session(pc, Resource(options, "whep"))
    clicked = time.monotonic()
    try:
        await session.open()
        connected = time.monotonic()
        try:
            await asyncio.wait_for(count.first_frame.wait(), FIRST_FRAME_SECONDS)
        except asyncio.TimeoutError:
            raise Failed(
                f"connected, but no picture within {FIRST_FRAME_SECONDS} s; {await packets(pc)}, "
                f"codec {negotiated_video(pc)}, SRTP {session.srtp_profile()}"
            ) from None
        await asyncio.sleep(SETTLE_SECONDS)
        start, before = time.time(), (count.frames, count.audio_samples)
        await asyncio.sleep(options.seconds)
        window = (round(start, 3), round(time.time(), 3))
        frames, audio_samples = count.frames - before[0], count.audio_samples - before[1]
        ended = sorted(count.ended)
        received = await packets(pc)
        codec, profile = negotiated_video(pc), session.srtp_profile()
    finally:
        delete_status = await session.close()
    report(
        codec=codec,
        frames=frames,
        audio_samples=audio_samples,
        width=count.size[0],
        height=count.size[1],
        window=window,
        connect_seconds=round(connected - clicked, 3),
        first_frame_seconds=round(count.first_frame_at - clicked, 3),
        srtp_profile=profile,
        dtls_role=session.resource.dtls_role,
        ended=ended,
        delete_status=delete_status,
        **received,
    )


if __name__ == "__main__":
    run(main, arguments("Play with aiortc by WHEP.").parse_args())
