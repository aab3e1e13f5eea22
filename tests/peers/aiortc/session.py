"""One session of aiortc: the offer, the answer, and the DELETE that ends it."""

import argparse
import asyncio
import signal
from collections.abc import Awaitable, Callable

from aiortc import RTCPeerConnection, RTCSessionDescription

import peer
from peer import CONNECT_SECONDS, Failed, Resource


class Session:
    """A peer connection and its resource at the server."""

    def __init__(self, pc: RTCPeerConnection, resource: Resource) -> None:
        self.pc = pc
        self.resource = resource
        self._settled = asyncio.Event()
        pc.on("connectionstatechange", self._on_state)

    def _on_state(self) -> None:
        if self.pc.connectionState in ("connected", "failed", "closed"):
            self._settled.set()

    async def open(self) -> None:
        """Offers what the peer connection has, takes the answer and waits until media can flow."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        answer = await asyncio.to_thread(self.resource.post, self.pc.localDescription.sdp)
        await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        try:
            await asyncio.wait_for(self._settled.wait(), CONNECT_SECONDS)
        except asyncio.TimeoutError:
            raise Failed(self._states(f"not connected after {CONNECT_SECONDS} s")) from None
        if self.pc.connectionState != "connected":
            raise Failed(self._states("the connection failed"))

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
        status = await asyncio.to_thread(self.resource.delete)
        await self.pc.close()
        return status


async def stopped_or_after(seconds: float) -> None:
    """Returns after so many seconds, or earlier when the process is asked to end (SIGTERM)."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except asyncio.TimeoutError:
        pass


def run(main: Callable[[argparse.Namespace], Awaitable[None]], options: argparse.Namespace) -> None:
    """Runs a peer to its end, as peer.run."""
    peer.run(lambda options: asyncio.run(main(options)), options)
