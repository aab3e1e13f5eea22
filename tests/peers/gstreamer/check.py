"""Whether this Python has GStreamer's bindings, and GStreamer what the peers use.

Exits with 1 and names what is missing.
"""

import sys

ELEMENTS = """
    webrtcbin nicesrc dtlsdec srtpdec videotestsrc audiotestsrc videoconvert audioresample
    vp8enc x264enc opusenc rtpvp8pay rtph264pay rtpopuspay
    rtpvp8depay rtpvp9depay rtph264depay rtpopusdepay vp8dec vp9dec h264parse avdec_h264 opusdec
""".split()

try:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstSdp", "1.0")
    gi.require_version("GstWebRTC", "1.0")
    from gi.repository import Gst, GstSdp, GstWebRTC  # noqa: F401
except (ImportError, ValueError) as error:
    sys.exit(str(error))
Gst.init(None)
missing = [name for name in ELEMENTS if Gst.ElementFactory.find(name) is None]
if missing:
    sys.exit(f"missing elements: {' '.join(missing)}")
