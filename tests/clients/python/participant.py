"""What the Python clients share: commands on standard input, events on standard output, and signaling.

A command is a JSON line:

    {"do": "join", "as": "bob", "url": "http://10.63.0.1:7880", "room": "r", "publish": "vp8" | "h264" | null}
    {"do": "leave", "as": "bob"}

`as` is the identity. Events are JSON lines with `as`, `event` and `at` (milliseconds since 1970):

    joining                          the token is there, `join` is being sent
    published   tracks [{mid, kind, track}]
    subscribed  tracks [{mid, track}]: what m-lines play from now on
    codec       codec: the first one of an m-line of an answer, with its payload type; from the Python clients
    layer       track, active, reason: what is sent of a track, or why nothing is; from the Python clients
    ice, dtls   pc ("publish", "subscribe"): ICE is connected, DTLS is connected
    frame       track: one complete video frame
    sound       track, packets, loud: audio of the last 200 ms; the first at once; loud: it is not silence
    keyframe_request                 the publisher was asked for a keyframe (PLI or FIR)
    left
    error       text
"""

import asyncio
import json
import sys
import threading
import time
import traceback
import urllib.parse
import urllib.request

import websockets

REPLY_WITHIN_S = 15
SOUND_EVERY_MS = 200
# Audio whose samples stay below this value (of 32,767) is silence.
LOUD_FROM = 500


# GStreamer's threads write events, too.
output = threading.Lock()


def now_ms():
    return time.time() * 1000


def say(identity, event, **fields):
    """Prints one event."""
    line = json.dumps({"as": identity, "event": event, "at": fields.pop("at", None) or now_ms(), **fields})
    with output:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def first_codecs(sdp):
    """The first codec of each m-line that is not rejected."""
    for section in sdp.split("\nm=")[1:]:
        _kind, port, _protocol, first = section.split()[:4]
        rtpmap = next((line for line in section.splitlines() if line.startswith(f"a=rtpmap:{first} ")), "")
        if port != "0":
            yield f"{first} {rtpmap.split(' ')[-1].strip()}"


class SoundMeter:
    """Sums up the audio of one track: an event is written 5 times per second instead of 50."""

    def __init__(self, identity, track):
        self.identity, self.track = identity, track
        self.packets, self.loud, self.last_ms = 0, False, None

    def add(self, peak):
        self.packets += 1
        self.loud = self.loud or peak >= LOUD_FROM
        now = now_ms()
        if self.last_ms is None or now - self.last_ms >= SOUND_EVERY_MS:
            say(self.identity, "sound", track=self.track, packets=self.packets, loud=self.loud, at=now)
            self.packets, self.loud, self.last_ms = 0, False, now


class Participant:
    """Signaling of one participant (docs/protocol.md). The media is in the subclass:

    async publish_offer(codec) -> (sdp, [{mid, kind, source}]); async publish_answer(sdp);
    async subscribe_answer(offer) -> sdp; async close().
    """

    def __init__(self, command):
        self.identity = command["as"]
        self.url = command["url"]
        self.room = command["room"]
        self.publish = command.get("publish")
        self.socket = None
        self.next_id = 0
        self.replies = {}
        self.offers = asyncio.Queue()
        self.tasks = []
        self.track_by_mid = {}
        self.candidates = []

    async def join(self):
        token = await asyncio.to_thread(self._token)
        address = self.url.replace("http", "ws", 1) + "/v1/signal"
        self.socket = await websockets.connect(address, max_size=None, ping_interval=None)
        self.tasks += [self._run(self._read()), self._run(self._subscribe())]
        say(self.identity, "joining")
        await self.request("join", token=token)
        if self.publish:
            sdp, tracks = await self.publish_offer(self.publish)
            answer = await self.request("offer", sdp=sdp, tracks=tracks)
            await self.publish_answer(answer["sdp"])
            kinds = {track["mid"]: track["kind"] for track in tracks}
            say(self.identity, "published", tracks=[{**track, "kind": kinds[track["mid"]]} for track in answer["tracks"]])

    async def leave(self):
        try:
            await self.request("leave")
        except Exception:
            pass
        for task in self.tasks:
            task.cancel()
        await self.close()
        await self.socket.close()
        say(self.identity, "left")

    async def request(self, type_, **fields):
        self.next_id += 1
        number = self.next_id
        reply = asyncio.get_running_loop().create_future()
        self.replies[number] = reply
        await self.socket.send(json.dumps({"type": type_, "id": number, **fields}))
        message = await asyncio.wait_for(reply, REPLY_WITHIN_S)
        if message["type"] == "error":
            raise RuntimeError(f"{type_} was refused: {message['code']}: {message['message']}")
        return message

    def _token(self):
        query = urllib.parse.urlencode({"room": self.room, "identity": self.identity, "name": self.identity})
        with urllib.request.urlopen(f"{self.url}/v1/demo/token?{query}", timeout=REPLY_WITHIN_S) as reply:
            return json.load(reply)["token"]

    async def _read(self):
        async for text in self.socket:
            message = json.loads(text)
            reply = self.replies.pop(message.get("id"), None)
            if reply is not None and not reply.done():
                reply.set_result(message)
            elif message["type"] == "offer":
                self.offers.put_nowait(message)
            elif message["type"] == "layer":
                say(self.identity, "layer", track=message["track"], active=message["active"], reason=message.get("reason"))
            elif message["type"] in ("error", "closing", "media"):
                say(self.identity, "error", text=json.dumps(message))

    async def _subscribe(self):
        while True:
            offer = await self.offers.get()
            self.track_by_mid = {track["mid"]: track["track"] for track in offer["tracks"]}
            sdp = await self.subscribe_answer(offer["sdp"])
            for codec in first_codecs(sdp):
                say(self.identity, "codec", codec=codec)
            try:
                await self.request("answer", revision=offer["revision"], sdp=sdp)
            except RuntimeError as error:
                if "stale_answer" not in str(error):
                    raise
            say(self.identity, "subscribed", tracks=offer["tracks"])

    def _run(self, work):
        async def guarded():
            try:
                await work
            except asyncio.CancelledError:
                pass
            except websockets.exceptions.ConnectionClosed as error:
                say(self.identity, "error", text=f"signaling closed: {error}")
            except Exception:
                say(self.identity, "error", text=traceback.format_exc(limit=-3))

        return asyncio.create_task(guarded())


async def serve(make):
    """Runs commands from standard input until it ends. `make` makes a Participant of a join command."""
    participants = {}
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say("", "ready")
    while line := await reader.readline():
        command = json.loads(line)
        identity = command["as"]
        try:
            if command["do"] == "join":
                participants[identity] = make(command)
                await participants[identity].join()
            elif identity in participants:
                await participants.pop(identity).leave()
        except Exception:
            say(identity, "error", text=traceback.format_exc(limit=-3))
    for participant in participants.values():
        await participant.leave()
