"""A picture and a tone, made frame by frame for the stacks that take PyAV's frames."""

import math
from array import array
from fractions import Fraction

from av import AudioFrame, VideoFrame

WIDTH, HEIGHT, FPS = 320, 240, 30
RTP_CLOCK = 90_000
SAMPLE_RATE = 48_000
AUDIO_FRAME = SAMPLE_RATE // 50
# Nine whole periods fit into one 20 ms frame, so that frame after frame is one unbroken tone.
TONE_HZ = 450

_RAMP = bytes(abs((i * 4) % 511 - 255) for i in range(WIDTH + 512)) * 2
_TONE = array(
    "h",
    (round(8191 * math.sin(2 * math.pi * TONE_HZ * i / SAMPLE_RATE)) for i in range(AUDIO_FRAME)),
).tobytes()


def picture(number: int) -> VideoFrame:
    """Diagonal stripes that move by two pixels a frame and change their colour."""
    frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
    luma, *chroma = frame.planes
    stride = luma.line_size
    luma.update(
        b"".join(
            _RAMP[shift : shift + stride]
            for shift in ((row + 2 * number) % 512 for row in range(HEIGHT))
        )
    )
    for step, plane in enumerate(chroma, start=1):
        plane.update(bytes([(number * step) % 256]) * plane.buffer_size)
    frame.pts = number * RTP_CLOCK // FPS
    frame.time_base = Fraction(1, RTP_CLOCK)
    return frame


def tone(number: int) -> AudioFrame:
    """20 ms of a sine at a quarter of full scale."""
    frame = AudioFrame(format="s16", layout="mono", samples=AUDIO_FRAME)
    frame.planes[0].update(_TONE)
    frame.pts = number * AUDIO_FRAME
    frame.sample_rate = SAMPLE_RATE
    frame.time_base = Fraction(1, SAMPLE_RATE)
    return frame
