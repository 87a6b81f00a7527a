"""Writes what pion publishes, as it has no encoders: DIR/vp8.frames, DIR/h264.frames and DIR/opus.frames, each a row of
frames with their lengths (32 bits, big-endian) before them.

The videos have one keyframe, at their start: a publisher that is asked for one starts over.
"""

import sys
from pathlib import Path

import av
import numpy

WIDTH, HEIGHT, FRAME_RATE, SECONDS = 320, 240, 15, 60
# Noise that cannot be predicted makes frames larger than one packet.
NOISE = 64
SAMPLE_RATE, SAMPLES, TONE_HZ, TONE_PEAK, SOUND_SECONDS = 48_000, 960, 440, 8_000, 10
NEVER = str(FRAME_RATE * SECONDS + 1)


def write(path, packets):
    with open(path, "wb") as file:
        for packet in packets:
            data = bytes(packet)
            file.write(len(data).to_bytes(4, "big") + data)


def video(codec, options):
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.bit_rate = WIDTH, HEIGHT, "yuv420p", 300_000
    encoder.framerate, encoder.options = FRAME_RATE, options
    noise = numpy.random.default_rng(1)
    for index in range(FRAME_RATE * SECONDS):
        picture = numpy.full((HEIGHT, WIDTH, 3), 96, dtype=numpy.uint8)
        left = index * 4 % (WIDTH - 40)
        picture[:, left : left + 40] = (60, 200, 60)
        picture[:NOISE, :NOISE] = noise.integers(0, 255, (NOISE, NOISE, 1), dtype=numpy.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = index
        yield from encoder.encode(frame)
    yield from encoder.encode(None)


def sound():
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = SAMPLE_RATE, "mono", "s16", 32_000
    for start in range(0, SAMPLE_RATE * SOUND_SECONDS, SAMPLES):
        angle = (numpy.arange(SAMPLES) + start) * (2 * numpy.pi * TONE_HZ / SAMPLE_RATE)
        samples = (TONE_PEAK * numpy.sin(angle)).astype(numpy.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, start
        yield from encoder.encode(frame)


folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
vp8 = {"deadline": "realtime", "cpu-used": "8", "g": NEVER, "keyint_min": NEVER, "auto-alt-ref": "0", "lag-in-frames": "0", "minrate": "300k", "maxrate": "300k"}
h264 = {"profile": "baseline", "preset": "ultrafast", "tune": "zerolatency", "g": NEVER, "keyint_min": NEVER, "sc_threshold": "0"}
write(folder / "vp8.frames", video("libvpx", vp8))
write(folder / "h264.frames", video("libx264", h264))
write(folder / "opus.frames", sound())
