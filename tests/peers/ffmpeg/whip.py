"""Publishes a test picture and a tone from ffmpeg (`-f whip`) by WHIP.

Prints {"event": "publishing", …} once media flows, then, when the time is over or on SIGTERM,
what was sent as the last line. The program is the one inside the package imageio-ffmpeg.

`delete_status` is null: ffmpeg sends its DELETE, but reads the response as if it were chunked and
calls every one a failure, so only the server can tell.
"""

import argparse
import subprocess
import sys
import threading
import time
from typing import IO

import imageio_ffmpeg

from peer import CONNECT_SECONDS, Failed, Stop, arguments, report, run
from whip_log import WhipLog

# It sends a DELETE, and says goodbye.
STOP_SECONDS = 5

# 255 is ffmpeg's code for an end by a signal.
ENDED_AS_ASKED = (0, 255)


def command(options: argparse.Namespace) -> list[str]:
    picture = "testsrc2=size=320x240:rate=30"
    tone = "sine=frequency=450:sample_rate=48000"
    # It makes no keyframes on request (there is no `nack pli` in its offer): one every second.
    # H.264 in WHIP is without B frames.
    encoder = ["-c:v", "libx264", "-profile:v", "baseline", "-preset", "ultrafast"]
    encoder += ["-tune", "zerolatency", "-bf", "0", "-g", "30", "-pix_fmt", "yuv420p"]
    encoder += ["-b:v", "400k", "-c:a", "libopus", "-ac", "2", "-b:a", "64k"]
    return [
        imageio_ffmpeg.get_ffmpeg_exe(),
        *["-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+verbose"],
        *["-progress", "pipe:1", "-stats_period", "0.25"],
        *["-re", "-f", "lavfi", "-i", picture, "-re", "-f", "lavfi", "-i", tone],
        *encoder,
        *["-f", "whip", *(["-whip_flags", "dtls_active"] if options.dtls == "active" else [])],
        f"{options.base.rstrip('/')}/{options.path}/whip",
    ]


class Progress:
    """The frames that ffmpeg encoded, by the wall clock: it counts them four times a second."""

    def __init__(self, lines: IO[str]) -> None:
        self.rows: list[tuple[float, int]] = []
        self._lines = lines
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for line in self._lines:
            name, _, value = line.strip().partition("=")
            if name == "frame":
                self.rows.append((round(time.time(), 3), int(value)))

    def join(self) -> None:
        self._thread.join()


def follow(lines: IO[str], log: WhipLog, verbose: bool) -> None:
    for line in lines:
        log.take(line)
        if verbose:
            sys.stderr.write(line)


def main(options: argparse.Namespace) -> None:
    stop = Stop()
    log = WhipLog()
    clicked = time.monotonic()
    ffmpeg = subprocess.Popen(
        command(options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    progress = Progress(ffmpeg.stdout)
    reader = threading.Thread(target=follow, args=(ffmpeg.stderr, log, options.verbose))
    reader.start()
    try:
        while not log.ready.wait(0.05):
            waited = time.monotonic() - clicked
            if ffmpeg.poll() is not None or waited > CONNECT_SECONDS or stop:
                raise Failed(f"ffmpeg does not publish after {waited:.1f} s:\n{log.tail()}")
        connected = time.monotonic()
        report(
            event="publishing",
            codec="H264",
            connect_seconds=round(connected - clicked, 3),
            srtp_profile=log.srtp_profile,
            dtls_role=log.dtls_role,
        )
        while ffmpeg.poll() is None:
            left = connected + options.seconds - time.monotonic()
            if left <= 0 or stop.wait(min(left, 0.25)):
                break
        else:
            raise Failed(f"ffmpeg ended by itself with {ffmpeg.returncode}:\n{log.tail()}")
        seconds = time.monotonic() - connected
        ffmpeg.terminate()
        code = ffmpeg.wait(STOP_SECONDS)
        if code not in ENDED_AS_ASKED:
            raise Failed(f"ffmpeg ended with {code}:\n{log.tail()}")
    finally:
        ffmpeg.kill()
        ffmpeg.wait()
        reader.join()
        progress.join()
    report(
        codec="H264",
        frames=progress.rows[-1][1] if progress.rows else 0,
        counts=progress.rows,
        seconds=round(seconds, 3),
        delete_status=None,
    )


parser = arguments("Publish from ffmpeg by WHIP.")
parser.add_argument("--codec", choices=["H264"], default="H264", help="there is but one")
parser.add_argument(
    "--dtls",
    choices=["passive", "active"],
    default="passive",
    help="ffmpeg's part in DTLS (default: passive, as it is by itself)",
)
if __name__ == "__main__":
    run(main, parser.parse_args())
