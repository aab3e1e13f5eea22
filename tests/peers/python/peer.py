"""What the Python peers have in common: arguments, results, and the HTTP half of a session.

A peer is a script that publishes by WHIP (RFC 9725) or plays by WHEP. Every result goes to stdout
as one line of JSON, every complaint to stderr. The exit code is 0 when the peer did what it was
asked, and also when the server refused the offer: then the one line is the refusal.

Scripts find this module by PYTHONPATH=tests/peers/python; the tests set it.
"""

import argparse
import json
import logging
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin

# Longer than the server waits for ICE and DTLS: when both give up, its log tells why.
CONNECT_SECONDS = 12

# A server asks for a keyframe when a viewer joins, so the first picture is a matter of tenths of
# a second; this is for a machine that is busy with something else.
FIRST_FRAME_SECONDS = 10

# Between the first picture and the window in which a player counts: what has come before it waits
# in queues and is decoded at once.
SETTLE_SECONDS = 1

HTTP_SECONDS = 10
COUNT_SECONDS = 0.25

# Peers speak to the server under test and to nobody in between.
_http = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Failed(Exception):
    """The session did not do what it was asked."""


class Refused(Failed):
    """The server did not take the offer."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(f"{status}: {why}")
        self.status = status
        self.why = why


class Resource:
    """The HTTP resource that stands for a session at the server."""

    def __init__(self, options: argparse.Namespace, kind: str) -> None:
        self.endpoint = f"{options.base.rstrip('/')}/{options.path}/{kind}"
        self.url: str | None = None
        self.dtls_role: str | None = None

    def post(self, offer: str) -> str:
        """Brings the offer, and gives the answer."""
        request = urllib.request.Request(
            self.endpoint, offer.encode(), {"Content-Type": "application/sdp"}, method="POST"
        )
        try:
            with _http.open(request, timeout=HTTP_SECONDS) as response:
                status, headers, body = response.status, response.headers, response.read().decode()
        except HTTPError as error:
            raise Refused(error.code, _sentence(error.read().decode())) from None
        what = f"POST {self.endpoint}: {status}"
        if status != 201:
            raise Failed(f"{what} instead of 201")
        if headers.get_content_type() != "application/sdp":
            raise Failed(f"{what} with an answer of type {headers.get_content_type()}")
        if "Location" not in headers:
            raise Failed(f"{what} without Location")
        self.url = urljoin(self.endpoint, headers["Location"])
        self.dtls_role = server_role(body)
        return body

    def delete(self) -> int | None:
        """Ends the session at the server; the status, if there was a session."""
        if self.url is None:
            return None
        request = urllib.request.Request(self.url, method="DELETE")
        try:
            with _http.open(request, timeout=HTTP_SECONDS) as response:
                return response.status
        except HTTPError as error:
            return error.code


def _sentence(body: str) -> str:
    """The server's words of a refusal; the body as it is where it is not of the usual form."""
    try:
        return json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return body


def server_role(answer: str) -> str | None:
    """The server's part in DTLS by its answer: who is passive waits for the hello (RFC 8842)."""
    roles = {"a=setup:passive": "server", "a=setup:active": "client"}
    found = {roles[line] for line in answer.splitlines() if line in roles}
    return found.pop() if len(found) == 1 else None


class Counts:
    """Notes four times a second how many frames there were, by the wall clock."""

    def __init__(self, frames: Callable[[], int]) -> None:
        self.rows: list[tuple[float, int]] = []
        self._frames = frames
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._note()
        while not self._over.wait(COUNT_SECONDS):
            self._note()
        self._note()

    def _note(self) -> None:
        self.rows.append((round(time.time(), 3), self._frames()))

    def stop(self) -> list[tuple[float, int]]:
        """The rows: seconds since 1970, and frames until then."""
        self._over.set()
        self._thread.join()
        return self.rows


class Stop:
    """Whether the process was asked to end (SIGTERM)."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self._asked.set())

    def wait(self, seconds: float) -> bool:
        """Returns after so many seconds, or earlier when asked to end; says whether it was."""
        return self._asked.wait(max(0.0, seconds))

    def __bool__(self) -> bool:
        return self._asked.is_set()


def arguments(description: str) -> argparse.ArgumentParser:
    """The arguments that all peers take."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--base", required=True, help="the server, as http://HOST:PORT")
    parser.add_argument("--path", default="live", help="the stream's path (default: live)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long (default: 5)")
    parser.add_argument("--verbose", action="store_true", help="the stack's own log on stderr")
    return parser


def report(**what: object) -> None:
    """One line of JSON, out at once."""
    print(json.dumps(what), flush=True)


def run(main: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> None:
    """Runs a peer to its end; says what went wrong and exits with 1 when something did."""
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.WARNING)
    try:
        main(options)
    except Refused as refused:
        report(refused=refused.status, error=refused.why)
    except (Failed, URLError) as error:
        sys.exit(str(error) or repr(error))
