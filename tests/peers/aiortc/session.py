"""One WHIP (RFC 9725) or WHEP session: the offer, the answer, and the DELETE that ends it.

What the two peers share. Every result goes to stdout as one line of JSON, every complaint to
stderr; the exit code is 0 only when the session did what it was asked.
"""

import argparse
import asyncio
import json
import logging
import signal
import sys
from urllib.parse import urljoin

import aiohttp
from aiortc import RTCPeerConnection, RTCSessionDescription

# Longer than the server waits for ICE and DTLS: when both give up, its log tells why.
CONNECT_SECONDS = 12


class Refused(Exception):
    """The server answered with something else than it should have."""


class Session:
    """A peer connection and the HTTP resource that stands for it at the server."""

    def __init__(self, pc: RTCPeerConnection, endpoint: str) -> None:
        self.pc = pc
        self.endpoint = endpoint
        self.resource: str | None = None
        self._settled = asyncio.Event()
        pc.on("connectionstatechange", self._on_state)

    def _on_state(self) -> None:
        if self.pc.connectionState in ("connected", "failed", "closed"):
            self._settled.set()

    async def open(self) -> None:
        """Offers what the peer connection has, takes the answer and waits until media can flow."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        async with aiohttp.ClientSession() as http:
            async with http.post(
                self.endpoint,
                data=self.pc.localDescription.sdp,
                headers={"Content-Type": "application/sdp"},
            ) as response:
                body = await response.text()
                if response.status != 201:
                    raise Refused(f"POST {self.endpoint}: {response.status} {body}")
                if response.content_type != "application/sdp":
                    raise Refused(f"POST {self.endpoint}: an answer of type {response.content_type}")
                if "Location" not in response.headers:
                    raise Refused(f"POST {self.endpoint}: an answer without Location")
                self.resource = urljoin(self.endpoint, response.headers["Location"])
        await self.pc.setRemoteDescription(RTCSessionDescription(body, "answer"))
        try:
            await asyncio.wait_for(self._settled.wait(), CONNECT_SECONDS)
        except asyncio.TimeoutError:
            raise Refused(self._states(f"not connected after {CONNECT_SECONDS} s")) from None
        if self.pc.connectionState != "connected":
            raise Refused(self._states("the connection failed"))

    def _states(self, what: str) -> str:
        transports = ", ".join(
            f"ICE {dtls.transport.state}, DTLS {dtls.state}" for dtls in self._transports()
        )
        return f"{what}: {transports}"

    def _transports(self) -> set:
        return {t.sender.transport for t in self.pc.getTransceivers()}

    def srtp_profile(self) -> str | None:
        """The SRTP profile that DTLS chose; aiortc has no public way to ask."""
        for dtls in self._transports():
            ssl = getattr(dtls, "_ssl", None)
            if ssl is not None:
                return ssl.get_selected_srtp_profile().decode()
        return None

    async def close(self) -> int | None:
        """Deletes the resource, closes the connection; the DELETE's status, if there was one."""
        status = None
        if self.resource is not None:
            async with aiohttp.ClientSession() as http:
                async with http.delete(self.resource) as response:
                    status = response.status
        await self.pc.close()
        return status


def arguments(description: str) -> argparse.ArgumentParser:
    """The arguments both peers take."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--base", required=True, help="the server, as http://HOST:PORT")
    parser.add_argument("--path", default="live", help="the stream's path (default: live)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long (default: 5)")
    parser.add_argument("--verbose", action="store_true", help="aiortc's own log on stderr")
    return parser


def report(**what: object) -> None:
    """One line of JSON, out at once."""
    print(json.dumps(what), flush=True)


async def stopped_or_after(seconds: float) -> None:
    """Returns after so many seconds, or earlier when the process is asked to end (SIGTERM)."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except asyncio.TimeoutError:
        pass


def run(main, options: argparse.Namespace) -> None:
    """Runs a peer to its end; says what went wrong and exits with 1 when something did."""
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.WARNING)
    try:
        asyncio.run(main(options))
    except (Refused, aiohttp.ClientError) as error:
        sys.exit(str(error) or repr(error))
