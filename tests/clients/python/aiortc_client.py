"""A participant of aiortc. Commands and events are those of participant.py; a join may also have what h264_formats.py reads:

    "offers": {"profile": "42e01f", "mode": 1, "vp8": false}    publishes H.264 in this format alone, or with VP8 after it
    "takes": {"codec": "h264", "profile": "42e01f" | null, "mode": 1, "otherwise": "reject" | "name"}
"""

import asyncio
import fractions

import numpy
from aiortc import AudioStreamTrack, RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription, VideoStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, VideoFrame

import h264_formats
from participant import Participant, SoundMeter, now_ms, say, serve

WIDTH, HEIGHT, FRAME_RATE = 320, 240, 15
SAMPLE_RATE, AUDIO_FRAME_SAMPLES, TONE_HZ, TONE_PEAK = 48_000, 960, 440, 8_000
VIDEO_CLOCK = 90_000


class Clock:
    """Paces a source: waits until frame `index` is due."""

    def __init__(self, per_second):
        self.start, self.per_second, self.index = None, per_second, -1

    async def tick(self):
        loop = asyncio.get_running_loop()
        self.index += 1
        self.start = self.start if self.start is not None else loop.time()
        await asyncio.sleep(max(0, self.start + self.index / self.per_second - loop.time()))
        return self.index


class Bars(VideoStreamTrack):
    """A bar moving over a grey picture."""

    def __init__(self):
        super().__init__()
        self.clock = Clock(FRAME_RATE)

    async def recv(self):
        index = await self.clock.tick()
        picture = numpy.full((HEIGHT, WIDTH, 3), 96, dtype=numpy.uint8)
        left = index * 4 % (WIDTH - 40)
        picture[:, left : left + 40] = (200, 60, 60)
        frame = VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = index * VIDEO_CLOCK // FRAME_RATE, fractions.Fraction(1, VIDEO_CLOCK)
        return frame


class Tone(AudioStreamTrack):
    """A tone without pauses."""

    def __init__(self):
        super().__init__()
        self.clock = Clock(SAMPLE_RATE / AUDIO_FRAME_SAMPLES)

    async def recv(self):
        start = await self.clock.tick() * AUDIO_FRAME_SAMPLES
        angle = (numpy.arange(AUDIO_FRAME_SAMPLES) + start) * (2 * numpy.pi * TONE_HZ / SAMPLE_RATE)
        samples = (TONE_PEAK * numpy.sin(angle)).astype(numpy.int16).reshape(1, -1)
        frame = AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.pts, frame.sample_rate, frame.time_base = start, SAMPLE_RATE, fractions.Fraction(1, SAMPLE_RATE)
        return frame


class AiortcParticipant(Participant):
    def __init__(self, command):
        super().__init__(command)
        self.publishing = self.subscribing = None
        self.readers = []
        self.offers_h264 = command.get("offers")
        self.takes = h264_formats.Viewer(command["takes"]) if "takes" in command else None

    def connection(self, name):
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))

        @connection.on("iceconnectionstatechange")
        def ice():
            if connection.iceConnectionState in ("connected", "completed"):
                say(self.identity, "ice", pc=name)

        @connection.on("connectionstatechange")
        def state():
            if connection.connectionState == "connected":
                say(self.identity, "dtls", pc=name)
            elif connection.connectionState == "failed":
                say(self.identity, "error", text=f"the {name} connection failed (ICE is {connection.iceConnectionState})")

        return connection

    async def publish_offer(self, codec):
        connection = self.publishing = self.connection("publish")
        connection.addTransceiver(Tone(), direction="sendonly")
        video = connection.addTransceiver(Bars(), direction="sendonly")
        wanted = f"video/{codec}".lower()
        codecs = RTCRtpSender.getCapabilities("video").codecs
        # The first codec is the one that is sent.
        wanted = [wanted, "video/rtx"] + (["video/vp8"] if self.offers_h264 and self.offers_h264["vp8"] else [])
        preferred = [each for name in wanted for each in codecs if each.mimeType.lower() == name]
        video.setCodecPreferences(preferred)
        send_keyframe = video.sender._send_keyframe

        def asked():
            say(self.identity, "keyframe_request")
            send_keyframe()

        video.sender._send_keyframe = asked
        await connection.setLocalDescription(await connection.createOffer())
        sources = {"audio": "microphone", "video": "camera"}
        tracks = [{"mid": each.mid, "kind": each.kind, "source": sources[each.kind]} for each in connection.getTransceivers()]
        sdp = connection.localDescription.sdp
        return h264_formats.published(sdp, self.offers_h264) if self.offers_h264 else sdp, tracks

    async def publish_answer(self, sdp):
        if self.offers_h264:
            sdp = h264_formats.publish_answer(sdp)
        await self.publishing.setRemoteDescription(RTCSessionDescription(sdp, "answer"))

    async def subscribe_answer(self, sdp):
        if self.subscribing is None:
            self.subscribing = self.connection("subscribe")
            self.subscribing.on("track", self.on_track)
        connection = self.subscribing
        shown = self.takes.offer(sdp) if self.takes else sdp
        await connection.setRemoteDescription(RTCSessionDescription(shown, "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        answer = connection.localDescription.sdp
        return self.takes.answer(answer) if self.takes else answer

    def on_track(self, track):
        mid = next(each.mid for each in self.subscribing.getTransceivers() if each.receiver.track is track)
        self.readers.append(asyncio.create_task(self.read(track, mid)))

    async def read(self, track, mid):
        meters = {}
        try:
            while True:
                frame = await track.recv()
                playing = self.track_by_mid.get(mid)
                if playing is None:
                    continue
                if track.kind == "video":
                    say(self.identity, "frame", track=playing, at=now_ms())
                    continue
                peak = int(numpy.abs(frame.to_ndarray().astype(numpy.int32)).max())
                meters.setdefault(playing, SoundMeter(self.identity, playing)).add(peak)
        except MediaStreamError:
            pass

    async def close(self):
        for task in self.readers:
            task.cancel()
        for connection in (self.publishing, self.subscribing):
            if connection is not None:
                await connection.close()


asyncio.run(serve(AiortcParticipant))
