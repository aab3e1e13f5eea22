"""One session of webrtcbin: the offer, the answer, and the DELETE that ends it.

webrtcbin works in threads of its own, so the peers need no main loop: they wait for what it
promises. Needs the system's Python, for its bindings of GStreamer (python3-gi).
"""

import argparse
import ctypes
import logging
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

from peer import CONNECT_SECONDS, Failed, Resource  # noqa: E402

GATHER_SECONDS = 5
POLL_SECONDS = 0.05

# What `dtlsenc` says of the keys, by its two numbers (GstDtlsSrtpCipher, GstDtlsSrtpAuth).
SRTP_PROFILES = {
    (1, 1): "SRTP_AES128_CM_HMAC_SHA1_32",
    (1, 2): "SRTP_AES128_CM_HMAC_SHA1_80",
}


def start(options: argparse.Namespace) -> None:
    """To be called before anything else of GStreamer."""
    Gst.init(None)
    if options.verbose:
        Gst.debug_set_threshold_from_string("2,webrtcbin:6,webrtcice:6,dtls*:6", False)


class Session:
    """A pipeline with a webrtcbin, and the resource at the server."""

    def __init__(self, options: argparse.Namespace, kind: str) -> None:
        self.resource = Resource(options, kind)
        self.pipeline = Gst.Pipeline.new(kind)
        self.webrtc = Gst.ElementFactory.make("webrtcbin", "webrtc")
        self.webrtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipeline.add(self.webrtc)
        # References to what webrtcbin was given: its bindings count one too few of some.
        self._kept: list[object] = []
        self._gathered = threading.Event()
        self._settled = threading.Event()
        self.webrtc.connect("notify::ice-gathering-state", self._on_gathering)
        self.webrtc.connect("notify::connection-state", self._on_connection)
        self._use_loopback()

    def _use_loopback(self) -> None:
        """libnice pairs no other address with a server on 127.0.0.1, and takes loopback only when
        it is told to."""
        agent = self.webrtc.get_property("ice-agent")
        # GStreamer 1.22 gives the agent away without counting the reference.
        gobject = ctypes.CDLL("libgobject-2.0.so.0")
        gobject.g_object_ref.argtypes = [ctypes.c_void_p]
        for _ in range(2):
            gobject.g_object_ref(hash(agent))
        self._kept.append(agent)
        agent.emit("add-local-ip-address", "127.0.0.1")

    def _on_gathering(self, *_: object) -> None:
        state = self.webrtc.get_property("ice-gathering-state")
        if state == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            self._gathered.set()

    def _on_connection(self, *_: object) -> None:
        state = self._state()
        logging.info("connection %s", state)
        if state in ("connected", "failed", "closed"):
            self._settled.set()

    def _state(self) -> str:
        return self.webrtc.get_property("connection-state").value_nick

    def open(self) -> None:
        """Offers what webrtcbin has, takes the answer and waits until media can flow."""
        offer = self._promised("create-offer", None).get_value("offer")
        self._kept.append(offer)
        self._promised("set-local-description", offer)
        self._wait(self._gathered, GATHER_SECONDS, "no end of ICE gathering")
        text = self.webrtc.get_property("local-description").sdp.as_text()
        logging.info("offer:\n%s", text)
        text = self.resource.post(text)
        logging.info("answer:\n%s", text)
        result, sdp = GstSdp.SDPMessage.new_from_text(text)
        if result != GstSdp.SDPResult.OK:
            raise Failed(f"GStreamer cannot read the answer: {result}\n{text}")
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
        self._kept.append(answer)
        self._promised("set-remote-description", answer)
        self._wait(self._settled, CONNECT_SECONDS, "not connected")
        if self._state() != "connected":
            raise Failed(f"the connection failed: {self._state()}")

    def _promised(self, action: str, argument: object) -> Gst.Structure | None:
        """Has webrtcbin do something, and gives what came of it."""
        promise = Gst.Promise.new()
        self._kept.append(promise)
        self.webrtc.emit(action, argument, promise)
        if promise.wait() != Gst.PromiseResult.REPLIED:
            raise Failed(f"webrtcbin gave no reply to {action}")
        reply = promise.get_reply()
        if reply is not None and reply.has_field("error"):
            raise Failed(f"{action}: {reply.get_value('error')}")
        self._kept.append(reply)
        return reply

    def _wait(self, event: threading.Event, seconds: float, otherwise: str) -> None:
        deadline = time.monotonic() + seconds
        while not event.wait(POLL_SECONDS):
            self.check()
            if time.monotonic() > deadline:
                ice = self.webrtc.get_property("ice-connection-state").value_nick
                raise Failed(f"{otherwise} after {seconds} s: {self._state()}, ICE {ice}")

    def check(self) -> None:
        """Fails if an element of the pipeline has."""
        message = self.pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
        if message is not None:
            error, details = message.parse_error()
            raise Failed(f"{message.src.get_path_string()}: {error.message} ({details})")

    def srtp_profile(self) -> str | None:
        """The SRTP profile that DTLS chose; webrtcbin keeps it in an element deep within."""
        found = self.webrtc.iterate_recurse()
        while True:
            result, element = found.next()
            if result == Gst.IteratorResult.RESYNC:
                found.resync()
            elif result != Gst.IteratorResult.OK:
                return None
            elif (factory := element.get_factory()) and factory.get_name() == "dtlsenc":
                numbers = [element.get_property(name) for name in ("srtp-cipher", "srtp-auth")]
                if tuple(numbers) != (0, 0):
                    return SRTP_PROFILES.get(tuple(numbers), f"unknown {numbers}")

    def close(self) -> int | None:
        """Deletes the resource and stops the pipeline; the DELETE's status, if there was one."""
        status = self.resource.delete()
        self.pipeline.set_state(Gst.State.NULL)
        return status


def element_from(description: str) -> Gst.Bin:
    """A bin with the pads that the description leaves open."""
    try:
        return Gst.parse_bin_from_description(description, True)
    except GLib.Error as error:
        raise Failed(f"{description}: {error.message}") from None
