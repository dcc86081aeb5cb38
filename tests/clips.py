"""Small videos of every kind, each frame of which carries its own number, and broken ones.

The number is written as 4 x 4 light and dark cells, which survive compression, scaling and odd sizes: tests read it back
with `read_number` and know exactly which frame they were given.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import partial
from itertools import accumulate, cycle, islice
from pathlib import Path

import av
import numpy as np
from PIL import Image

from ppl_cli.data.video_images import EXACT

CELLS = 4
DARK, LIGHT = (20, 20, 90), (240, 225, 150)  # blue and yellow: red and blue exchanged would be seen
FRAMES, SIZE, RATE = 24, (64, 48), 25  # of every clip that is not asked to be different; the size is (width, height)
CODECS = {".avi": "mjpeg", ".webm": "libvpx-vp9", ".mpg": "mpeg2video", ".wmv": "wmv2"}  # all others libx264
VPX = {"g": "10", "deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "5"}
OPTIONS = {  # a key frame every 10 frames, and frames stored in another order than they are shown
    "libx264": {"g": "10", "bf": "2", "preset": "ultrafast", "crf": "15", "x264-params": "b-adapt=0:scenecut=0"},
    "libvpx": VPX,
    "libvpx-vp9": VPX,
    "mpeg2video": {"g": "10", "bf": "2", "qmax": "4"},
    "mjpeg": {"qmax": "4"},
    "wmv2": {"g": "10", "qmax": "4"},
}


def draw_number(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W, 3) uint8 for a number below 65,536."""
    bits = np.array([number >> place & 1 for place in range(CELLS * CELLS)], bool).reshape(CELLS, CELLS)
    width, height = size
    cells = bits[np.arange(height) * CELLS // height][:, np.arange(width) * CELLS // width]
    return np.where(cells[..., None], np.array(LIGHT, np.uint8), np.array(DARK, np.uint8))


def read_number(picture: Image.Image | np.ndarray) -> int:
    """The number in a picture (H, W, 3); AssertionError where there is none, or where two frames were mixed."""
    pixels = np.asarray(picture).astype(float)
    height, width = pixels.shape[:2]
    number = 0
    for place in range(CELLS * CELLS):
        y, x = (int((at + 0.5) * side / CELLS) for at, side in zip(divmod(place, CELLS), (height, width), strict=True))
        red, _, blue = pixels[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].mean(axis=(0, 1))
        assert red < min(90, blue) or red > max(170, blue), f"cell {place} is neither dark nor light: {red:.0f}, {blue:.0f}"
        number |= int(red > 128) << place
    return number


def write_clip(path: Path, numbers: Iterable[int] = range(FRAMES), size: tuple[int, int] = SIZE, **more) -> Path:
    """Frames with these numbers; `more` as in `write_pictures`."""
    return write_pictures(path, (draw_number(number, size) for number in numbers), **more)


def write_pictures(
    path: Path,
    pictures: Iterable[np.ndarray],
    *,
    codec: str | None = None,
    pixels: str | None = None,
    times: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """(H, W, 3) uint8 pictures as a video; its codec follows from the suffix. At least one picture.

    `pixels` is the codec's pixel format. `times` are those of the frames in milliseconds, for rates that vary. `options` are
    the codec's.
    """
    codec = codec or CODECS.get(path.suffix, "libx264")
    base = Fraction(1, RATE) if times is None else Fraction(1, 1000)
    with av.open(path, "w") as file:
        stream = file.add_stream(codec, RATE, options=OPTIONS.get(codec, {}) | (options or {}))
        stream.pix_fmt = pixels or ("yuvj420p" if codec == "mjpeg" else "yuv420p")
        stream.codec_context.time_base = base
        stream.codec_context.thread_count = 1
        for at, picture in enumerate(pictures):
            if at == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture).reformat(format=stream.pix_fmt, interpolation=EXACT)
            frame.pts, frame.time_base = at if times is None else times[at], base
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def uneven_times(count: int = FRAMES) -> list[int]:
    """Milliseconds at which the frames of a rate that varies are shown, the first at 0."""
    return [0, *accumulate(islice(cycle([20, 40, 33, 7, 500]), count - 1))]


def write_turned(path: Path, quarters: int = 1, mirrored: bool = False) -> Path:
    """As telephones write mp4 and mov: pixels on their side, and a flag by how many quarters they are shown turned clockwise,
    and whether they are then mirrored left to right.

    The number can be read in what is displayed.
    """
    side = -1 if mirrored else 1
    pictures = (np.rot90(draw_number(number)[:, ::side], quarters) for number in range(FRAMES))
    content = bytearray(write_pictures(path, map(np.ascontiguousarray, pictures)).read_bytes())
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters]
    at = content.index(b"tkhd") + 44  # of the matrix in the header of the track: ISO 14496-12, 8.3.2
    matrix = [side * cos << 16, sin << 16, 0, -side * sin << 16, cos << 16, 0, 0, 0, 1 << 30]
    content[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(content)
    return path


def write_growing(path: Path) -> Path:
    """Half way through, the pictures become twice as large: VP8, whose key frames say their size."""
    half, (width, height) = FRAMES // 2, SIZE
    small = write_clip(path.with_stem("small"), range(half), codec="libvpx")
    large = write_clip(path.with_stem("large"), range(half, FRAMES), (2 * width, 2 * height), codec="libvpx")
    return join(path, [small, large])


def write_with_sound(path: Path) -> Path:
    """With a sound track that lasts longer than the pictures."""
    return join(path, [write_clip(path.with_stem("silent"))], sound=True)


def join(path: Path, parts: list[Path], sound: bool = False, **options: str) -> Path:
    """The frames of videos, one video after the other, as they are stored; the parts are removed. `options` of the file."""
    with av.open(path, "w", options=options) as file, av.open(parts[0]) as first:
        stream = file.add_stream_from_template(first.streams.video[0])
        if sound:
            write_noise(file)
        shift = 0
        for part in parts:
            with av.open(part) as source:
                packets = [packet for packet in source.demux(video=0) if packet.dts is not None]
            for packet in packets:
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
            file.mux(packets)
            shift += max(packet.pts for packet in packets) + round(1 / RATE / packets[0].time_base)
            part.unlink()
    return path


def write_noise(file: av.container.OutputContainer, seconds: float = 2) -> None:
    stream = file.add_stream("aac", 8000, layout="mono")
    noise = np.random.default_rng(0).normal(0, 0.1, (1, round(8000 * seconds))).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
    frame.sample_rate = 8000
    file.mux(stream.encode(frame))
    file.mux(stream.encode(None))


def write_sound_only(path: Path) -> Path:
    with av.open(path, "w") as file:
        write_noise(file)
    return path


def write_without_frames(path: Path) -> Path:
    """A sound video file whose track is empty."""
    with av.open(path, "w") as file:
        stream = file.add_stream(CODECS.get(path.suffix, "libx264"), RATE)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p"
        file.start_encoding()
    return path


def write_without_index(path: Path) -> Path:
    """A camera that was switched off: all pictures, and no `moov`, which says where they are."""
    content = write_clip(path).read_bytes()
    path.write_bytes(content[: content.index(b"moov") - 4])
    return path


def write_truncated(path: Path) -> Path:
    """A copy that stopped half way: of mp4 the index is there, and half of the pictures."""
    whole = write_clip(path.with_name("whole.mp4"), range(2 * FRAMES), codec=CODECS.get(path.suffix))
    content = join(path, [whole], movflags="faststart").read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def write_damaged(path: Path) -> Path:
    """A tenth of the bytes in the middle are zeros."""
    content = write_clip(path, range(2 * FRAMES)).read_bytes()
    half, length = len(content) // 2, len(content) // 10
    path.write_bytes(content[:half] + bytes(length) + content[half + length :])
    return path


def write_text(path: Path) -> Path:
    path.write_text("This is no video.\n" * 100)
    return path


OPEN_GROUPS = {"x264-params": f"{OPTIONS['libx264']['x264-params']}:open-gop=1"}
GOOD = {  # frames 0 to FRAMES - 1 in this order, and nothing wrong
    "plain.mp4": write_clip,
    "plain.mov": write_clip,
    "plain.m4v": write_clip,
    "plain.mkv": write_clip,
    "plain.avi": write_clip,
    "plain.mpg": write_clip,
    "plain.mts": write_clip,
    "camcorder.m2ts": write_clip,  # packets of 192 bytes instead of 188
    "plain.wmv": write_clip,
    "plain.flv": write_clip,
    "vp9.webm": write_clip,
    "vp8.webm": partial(write_clip, codec="libvpx"),
    "mpeg4.avi": partial(write_clip, codec="mpeg4"),
    "lossless.mkv": partial(write_clip, codec="ffv1"),
    "uneven.mp4": partial(write_clip, times=uneven_times()),
    "uneven.mkv": partial(write_clip, times=uneven_times()),
    "uneven.webm": partial(write_clip, times=uneven_times()),
    "late.mp4": partial(write_clip, times=[2000 + 40 * at for at in range(FRAMES)]),
    "odd.mp4": partial(write_clip, size=(63, 47), pixels="yuv444p"),
    "odd.avi": partial(write_clip, size=(63, 47)),
    "odd.webm": partial(write_clip, size=(63, 47)),
    "ten_bits.mp4": partial(write_clip, pixels="yuv420p10le"),
    "interlaced.mpg": partial(write_clip, options={"flags": "+ildct+ilme"}),
    "interlaced.mp4": partial(write_clip, options={"x264-params": "tff=1"}),
    "open_groups.mp4": partial(write_clip, options=OPEN_GROUPS),  # frames before a key frame in time and after it in the file
    "turned.mp4": write_turned,
    "turned_left.mov": partial(write_turned, quarters=3),
    "upside_down.mov": partial(write_turned, quarters=2),
    "mirrored.mp4": partial(write_turned, quarters=0, mirrored=True),
    "turned_and_mirrored.mov": partial(write_turned, mirrored=True),
    "sound.mp4": write_with_sound,
}
NOTHING = {  # not one frame can be read
    "text.mp4": write_text,
    "no_index.mp4": write_without_index,
    "sound_only.mp4": write_sound_only,
    "no_frames.avi": write_without_frames,
    "no_frames.mkv": write_without_frames,
}
IN_PART = {  # the first frames can be read
    "truncated.mp4": write_truncated,
    "truncated.avi": write_truncated,
    "truncated.mkv": write_truncated,
    "damaged.mp4": write_damaged,
    "damaged.avi": write_damaged,
    "growing.webm": write_growing,
}
BROKEN = NOTHING | IN_PART
