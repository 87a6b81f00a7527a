"""A participant of GStreamer's webrtcbin. Commands and events are those of participant.py.

`"certificate": "ec"` in a join command gives its DTLS a P-256 certificate; otherwise webrtcbin makes its own, which is an
RSA one.
"""

import asyncio
import re
import subprocess
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

from participant import Participant, SoundMeter, now_ms, say, serve  # noqa: E402

PROMISE_WITHIN_S = 15
# Keyframes are sent only on request.
FRAMES_BETWEEN_KEYFRAMES = 100_000
ENCODERS = {
    "vp8": f"vp8enc deadline=1 target-bitrate=200000 keyframe-max-dist={FRAMES_BETWEEN_KEYFRAMES} name=encoder ! rtpvp8pay picture-id-mode=2 ! "
    "application/x-rtp,media=video,encoding-name=VP8,payload=96",
    "h264": f"x264enc tune=zerolatency speed-preset=ultrafast bitrate=200 key-int-max={FRAMES_BETWEEN_KEYFRAMES} name=encoder ! "
    "video/x-h264,profile=constrained-baseline ! rtph264pay aggregate-mode=zero-latency config-interval=-1 ! "
    "application/x-rtp,media=video,encoding-name=H264,payload=96",
}
SOURCES = (
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=15/1 ! {encoder} ! pc. "
    "audiotestsrc is-live=true wave=sine freq=440 volume=0.3 ! audio/x-raw,rate=48000,channels=1 ! opusenc ! rtpopuspay ! "
    "application/x-rtp,media=audio,encoding-name=OPUS,payload=97 ! pc. "
)


def ec_certificate():
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "-"]
    command = ["openssl", "req", "-x509", *key, "-out", "-", "-days", "2", "-subj", "/CN=test"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def fingerprint(pem):
    command = ["openssl", "x509", "-noout", "-fingerprint", "-sha256"]
    return subprocess.run(command, check=True, capture_output=True, text=True, input=pem).stdout.strip().split("=")[1]


class GstreamerParticipant(Participant):
    def __init__(self, command):
        super().__init__(command)
        self.loop = asyncio.get_running_loop()
        self.pem = ec_certificate() if command.get("certificate") == "ec" else None
        self.pipelines = []
        self.publishing = self.subscribing = None

    def connection(self, name, sources=""):
        """A pipeline with one webrtcbin."""
        pipeline = Gst.Pipeline.new(None) if not sources else Gst.parse_launch(f"webrtcbin name=pc bundle-policy=max-bundle {sources}")
        pc = pipeline.get_by_name("pc") if sources else Gst.ElementFactory.make("webrtcbin", "pc")
        if not sources:
            pc.set_property("bundle-policy", "max-bundle")
            pipeline.add(pc)
        self.pipelines.append(pipeline)
        if self.pem:
            pc.connect("deep-element-added", self.give_certificate)
        pc.connect("on-ice-candidate", lambda _pc, _index, candidate: self.loop.call_soon_threadsafe(self.candidate, name, candidate))
        pc.connect("notify::ice-connection-state", self.on_ice, name)
        pc.connect("notify::connection-state", self.on_state, name)
        pipeline.get_bus().add_watch(GLib.PRIORITY_DEFAULT, self.on_bus)
        return pipeline, pc

    def give_certificate(self, _pc, _bin, element):
        factory = element.get_factory()
        if factory and factory.get_name() == "dtlssrtpdec":
            element.set_property("pem", self.pem)
            # webrtcbin was created with a generated certificate; setting the name creates the
            # connection again.
            element.set_property("connection-id", element.get_property("connection-id"))

    def on_bus(self, _bus, message):
        if message.type == Gst.MessageType.ERROR:
            error, detail = message.parse_error()
            say(self.identity, "error", text=f"{error.message} ({detail})")
        return True

    def on_ice(self, pc, _property, name):
        if pc.get_property("ice-connection-state") in (GstWebRTC.WebRTCICEConnectionState.CONNECTED, GstWebRTC.WebRTCICEConnectionState.COMPLETED):
            say(self.identity, "ice", pc=name)

    def on_state(self, pc, _property, name):
        state = pc.get_property("connection-state")
        if state == GstWebRTC.WebRTCPeerConnectionState.CONNECTED:
            say(self.identity, "dtls", pc=name)
        elif state == GstWebRTC.WebRTCPeerConnectionState.FAILED:
            say(self.identity, "error", text=f"the {name} connection failed")

    def candidate(self, name, candidate):
        # The server needs the description before its candidates.
        self.candidates.append((name, candidate))

    async def send_candidates(self, name):
        due = [candidate for of, candidate in self.candidates if of == name and "UDP" in candidate]
        self.candidates = [each for each in self.candidates if each[0] != name]
        for candidate in due:
            await self.request("candidate", pc=name, candidate=candidate)

    async def promise(self, pc, signal, *args):
        """The reply of a webrtcbin action."""
        future = self.loop.create_future()

        def changed(promise, *_):
            reply = promise.get_reply()
            failure = reply.get_value("error") if reply and reply.has_field("error") else None
            # The promise owns the contents of the reply.
            value = None
            for field in ("offer", "answer"):
                if reply and reply.has_field(field):
                    value = reply.get_value(field).sdp.as_text()
            self.loop.call_soon_threadsafe(lambda: future.done() or (future.set_exception(RuntimeError(f"{signal}: {failure}")) if failure else future.set_result(value)))

        pc.emit(signal, *args, Gst.Promise.new_with_change_func(changed))
        return await asyncio.wait_for(future, PROMISE_WITHIN_S)

    def sent(self, sdp):
        """The description for the server."""
        if not self.pem:
            return sdp
        # webrtcbin includes the key of a given PEM in the fingerprint of the certificate.
        return re.sub(r"(?m)^a=fingerprint:\S+ \S+", f"a=fingerprint:sha-256 {fingerprint(self.pem)}", sdp)

    @staticmethod
    def description(kind, sdp):
        _result, message = GstSdp.SDPMessage.new_from_text(sdp)
        return GstWebRTC.WebRTCSessionDescription.new(kind, message)

    async def publish_offer(self, codec):
        pipeline, pc = self.publishing = self.connection("publish", SOURCES.format(encoder=ENCODERS[codec]))
        encoder = pipeline.get_by_name("encoder")
        encoder.get_static_pad("src").add_probe(Gst.PadProbeType.EVENT_UPSTREAM, self.on_upstream)
        for index in range(2):
            pc.emit("get-transceiver", index).set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
        pipeline.set_state(Gst.State.PLAYING)
        # The offer needs the caps of the payloaders.
        await asyncio.to_thread(self.wait_for_caps, pc)
        sdp = await self.promise(pc, "create-offer", None)
        await self.promise(pc, "set-local-description", self.description(GstWebRTC.WebRTCSDPType.OFFER, sdp))
        sources = {"audio": "microphone", "video": "camera"}
        tracks = []
        for line in sdp.splitlines():
            if line.startswith("m="):
                kind = line[2:].split()[0]
            elif line.startswith("a=mid:"):
                tracks.append({"mid": line[6:], "kind": kind, "source": sources[kind]})
        return self.sent(sdp), tracks

    @staticmethod
    def wait_for_caps(pc):
        """Waits until each payloader has its caps."""
        for pad in pc.sinkpads:
            arrived = threading.Event()
            if pad.get_current_caps() is not None:
                continue
            pad.connect("notify::caps", lambda *_, arrived=arrived: arrived.set())
            if pad.get_current_caps() is None:
                arrived.wait(PROMISE_WITHIN_S)

    def on_upstream(self, _pad, info):
        structure = info.get_event().get_structure()
        if structure and structure.get_name() == "GstForceKeyUnit":
            say(self.identity, "keyframe_request")
        return Gst.PadProbeReturn.OK

    async def publish_answer(self, sdp):
        await self.promise(self.publishing[1], "set-remote-description", self.description(GstWebRTC.WebRTCSDPType.ANSWER, sdp))
        await self.send_candidates("publish")

    async def subscribe_answer(self, sdp):
        if self.subscribing is None:
            self.subscribing = self.connection("subscribe")
            pipeline, pc = self.subscribing
            pc.connect("pad-added", self.on_pad)
            pipeline.set_state(Gst.State.PLAYING)
        pc = self.subscribing[1]
        await self.promise(pc, "set-remote-description", self.description(GstWebRTC.WebRTCSDPType.OFFER, sdp))
        answer = await self.promise(pc, "create-answer", None)
        await self.promise(pc, "set-local-description", self.description(GstWebRTC.WebRTCSDPType.ANSWER, answer))
        self.loop.call_later(0.1, lambda: self.tasks.append(self._run(self.send_candidates("subscribe"))))
        return self.sent(answer)

    def on_pad(self, pc, pad):
        if pad.direction != Gst.PadDirection.SRC:
            return
        mid = pad.get_property("transceiver").get_property("mid")
        decoder = Gst.ElementFactory.make("decodebin", None)
        decoder.connect("pad-added", self.on_decoded, mid)
        self.subscribing[0].add(decoder)
        decoder.sync_state_with_parent()
        pad.link(decoder.get_static_pad("sink"))

    def on_decoded(self, _decoder, pad, mid):
        caps = pad.get_current_caps().get_structure(0).get_name()
        chain = "fakesink name=sink sync=false" if caps.startswith("video") else "audioconvert ! audio/x-raw,format=S16LE ! fakesink name=sink sync=false"
        sink = Gst.parse_bin_from_description(f"queue ! {chain}", True)
        self.subscribing[0].add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))
        count = self.count_frame if caps.startswith("video") else self.count_sound
        sink.get_by_name("sink").get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, count, mid, {})

    def count_frame(self, _pad, _info, mid, _meters):
        playing = self.track_by_mid.get(mid)
        if playing:
            say(self.identity, "frame", track=playing, at=now_ms())
        return Gst.PadProbeReturn.OK

    def count_sound(self, _pad, info, mid, meters):
        playing = self.track_by_mid.get(mid)
        if playing:
            buffer = info.get_buffer()
            samples = memoryview(buffer.extract_dup(0, buffer.get_size())).cast("h")
            peak = max((abs(sample) for sample in samples), default=0)
            meters.setdefault(playing, SoundMeter(self.identity, playing)).add(peak)
        return Gst.PadProbeReturn.OK

    async def close(self):
        for pipeline in self.pipelines:
            await asyncio.to_thread(pipeline.set_state, Gst.State.NULL)


Gst.init(None)
main_loop = GLib.MainLoop()
threading.Thread(target=main_loop.run, daemon=True).start()
asyncio.run(serve(GstreamerParticipant))
main_loop.quit()
