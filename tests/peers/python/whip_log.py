"""What libavformat's WHIP muxer says of its session, which it says nowhere but in its log."""

import re
import threading

from peer import server_role

_SUITE = re.compile(r"SRTP setup done, .*\bsuite=([^,\s]+)")
_READY = "Muxer state="
# Enough of a log to see why a session came to nothing.
_TAIL = 40


class WhipLog:
    """Takes in the log at level "verbose", message by message or line by line."""

    def __init__(self) -> None:
        self.srtp_profile: str | None = None
        self.dtls_role: str | None = None
        self.ready = threading.Event()
        self._answer: list[str] | None = None
        self._lines: list[str] = []

    def take(self, message: str) -> None:
        """A message, or a piece of one: it may have several lines."""
        for line in message.splitlines():
            self._lines = [*self._lines[1 - _TAIL :], line]
            self._take_line(line)

    def _take_line(self, line: str) -> None:
        if ", answer: " in line:
            self._answer = []
        elif self._answer is not None and re.match(r"[a-z]=", line):
            self._answer.append(line)
            self.dtls_role = server_role("\n".join(self._answer))
        elif line.strip():
            self._answer = None
        if suite := _SUITE.search(line):
            self.srtp_profile = suite[1]
        if _READY in line:
            self.ready.set()

    def tail(self) -> str:
        """The last lines, for a complaint."""
        return "\n".join(self._lines)
