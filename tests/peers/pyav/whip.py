"""Publishes a synthetic picture and a tone from PyAV (`av.open(…, format="whip")`) by WHIP.

Prints {"event": "publishing", …} once media flows, then, when the time is over or on SIGTERM,
what was sent as the last line.

The certificate is made here, for P-256. Left to itself PyAV's build of libavformat (on GnuTLS)
makes one for the curve P-224, which browsers do not take and Kvill's DTLS does not either;
`--certificate own` shows it.

`delete_status` is null: the muxer sends a DELETE and keeps what came of it to itself.
"""

import argparse
import logging
import tempfile
import time
from pathlib import Path

import av

import synthetic
from certificate import p256
from peer import Counts, Failed, Stop, arguments, report, run
from synthetic import AUDIO_FRAME, FPS, HEIGHT, SAMPLE_RATE, WIDTH
from whip_log import WhipLog


class Forward(logging.Handler):
    """PyAV brings libav's log to Python's."""

    def __init__(self, log: WhipLog) -> None:
        super().__init__(logging.DEBUG)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.take(record.getMessage())


class Publisher:
    """Encodes and sends what is due."""

    def __init__(self, url: str, options: dict[str, str]) -> None:
        self.pictures = 0
        self.tones = 0
        self._container = av.open(url, "w", format="whip", options=options)
        # It makes no keyframes on request: one every second. No B frames, as WHIP wants it.
        x264 = {"profile": "baseline", "preset": "ultrafast", "tune": "zerolatency", "bf": "0"}
        self._video = self._container.add_stream("libx264", rate=FPS, options={**x264, "g": "30"})
        self._video.width, self._video.height = WIDTH, HEIGHT
        self._video.pix_fmt = "yuv420p"
        self._video.bit_rate = 400_000
        self._audio = self._container.add_stream("libopus", rate=SAMPLE_RATE, layout="stereo")
        self._audio.bit_rate = 64_000

    def connect(self) -> None:
        """The POST, ICE and DTLS: returns when media can flow."""
        try:
            self._container.start_encoding()
        except (av.FFmpegError, OSError) as error:
            raise Failed(str(error)) from None

    def send(self, elapsed: float) -> None:
        """Everything that is due so many seconds after the start."""
        while self.pictures <= elapsed * FPS:
            self._container.mux(self._video.encode(synthetic.picture(self.pictures)))
            self.pictures += 1
        while self.tones <= elapsed * SAMPLE_RATE / AUDIO_FRAME:
            self._container.mux(self._audio.encode(synthetic.tone(self.tones)))
            self.tones += 1

    def close(self) -> None:
        """Says goodbye and deletes the resource."""
        self._container.close()


def main(options: argparse.Namespace) -> None:
    stop = Stop()
    log = WhipLog()
    av.logging.set_level(av.logging.VERBOSE)
    libav = logging.getLogger("libav")
    libav.setLevel(logging.DEBUG)
    libav.propagate = options.verbose
    libav.addHandler(Forward(log))

    clicked = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        muxer = {}
        if options.certificate == "p256":
            muxer["cert_file"], muxer["key_file"] = map(str, p256(Path(folder)))
        publisher = Publisher(f"{options.base.rstrip('/')}/{options.path}/whip", muxer)
        try:
            publisher.connect()
        except Failed as failed:
            raise Failed(f"{failed}\n{log.tail()}") from None
    connected = time.monotonic()
    report(
        event="publishing",
        codec="H264",
        connect_seconds=round(connected - clicked, 3),
        srtp_profile=log.srtp_profile,
        dtls_role=log.dtls_role,
    )
    counting = Counts(lambda: publisher.pictures)
    while (elapsed := time.monotonic() - connected) < options.seconds:
        publisher.send(elapsed)
        if stop.wait(1 / FPS - (time.monotonic() - connected) % (1 / FPS)):
            break
    counts = counting.stop()
    publisher.close()
    report(
        codec="H264",
        frames=publisher.pictures,
        counts=counts,
        audio_samples=publisher.tones * AUDIO_FRAME,
        seconds=round(elapsed, 3),
        delete_status=None,
    )


parser = arguments("Publish from PyAV by WHIP.")
parser.add_argument("--codec", choices=["H264"], default="H264", help="there is but one")
parser.add_argument(
    "--certificate",
    choices=["p256", "own"],
    default="p256",
    help="for P-256 (default), or the one that PyAV makes by itself",
)
if __name__ == "__main__":
    run(main, parser.parse_args())
