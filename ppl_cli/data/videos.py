"""Videos, read frame by frame: `clip.mp4#7` is frame 7, counted from 0 in the order of presentation.

    video = open_video(path)              what its packets say: how many frames, and when each is shown
    with Reader(video) as reader:
        frame = reader.read(7)            any order is exact, going on is cheap

Frames are found by their time stamps, which are read from the packets without decoding one. So numbers are exact with
variable rates and reordered frames, and a damaged frame does not shift those behind it. Nothing else knows of containers.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ppl_cli.data.video_images import find_size
from ppl_cli.errors import UnreadableImageError
from ppl_cli.text import counted, in_one_line

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv", ".flv")
# FFmpeg is told what a file is: left to itself it takes one for a playlist, and opens the files and addresses in it.
BEGINNINGS = {
    b"RIFF": "avi",
    b"\x1aE\xdf\xa3": "matroska",
    b"\0\0\x01\xba": "mpeg",
    b"\0\0\x01\xb3": "mpegvideo",
    b"0&\xb2u": "asf",
    b"FLV\x01": "flv",
}
TS_PACKETS = (slice(0, 189, 188), slice(4, 197, 192))  # where two begin, with G; camcorders write a stamp before each
MP4 = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")  # behind the first four bytes
SMALL = 320 * 240  # pixels of a frame that takes less time to decode than to share out among threads
WORTH_SEEKING = 24  # frames that take longer to decode than a jump past them
END = 1 << 62  # later than any stamp


@dataclass(frozen=True)
class Video:
    """What is known of a video before a frame is decoded; `len` is the number of its frames."""

    path: Path
    width: int  # as displayed: a phone's rotation is applied
    height: int
    rate: Fraction  # frames a second, on average
    stamps: np.ndarray  # (F,) int64 when each is shown, in units of the stream's clock; increasing
    tick: Fraction  # seconds of such a unit
    keys: np.ndarray  # (G,) numbers of the frames that need no other and can be jumped to
    key_stamps: np.ndarray  # (G,) int64 when these must be decoded, in the same units
    timed: bool  # False: the file has no usable time stamps, and frames are counted
    note: str | None  # what of the file is missing

    def __len__(self) -> int:
        return len(self.stamps)

    @cached_property
    def times(self) -> np.ndarray:
        """(F,) seconds of the stream's clock, which need not begin at 0."""
        return self.stamps * float(self.tick)


def is_video(name: str | os.PathLike) -> bool:
    return os.fspath(name).lower().endswith(VIDEO_SUFFIXES)


def open_video(path: Path | str) -> Video:
    """UnreadableImageError says why it is no video that can be read, without its name."""
    path = Path(path)
    try:
        found = os.stat(path)
    except OSError as error:
        raise UnreadableImageError(f"cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):  # a named pipe would block for ever
        raise UnreadableImageError("not a regular file")
    return index_video(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=256)
def index_video(path: Path, size: int, changed: int) -> Video:
    """`size` and `changed` (time of the last change) tell a file from an earlier one there."""
    with open_container(path) as container:
        stream = find_stream(container)
        packets, tick, announced = list(read_packets(container, stream)), stream.time_base, stream.frames
        kind = container.format.name
        lasts = container.duration / 1e6 if container.duration and len(container.streams) == 1 else 0.0  # seconds
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    held = len(packets)
    if kind == "avi" and packets and None not in (stamps := [packet.stamp for packet in packets]):
        held = max(held, stamps[-1] + int(np.diff(stamps).max(initial=1)))  # it announces moments, some of them without a frame
    note = f"its header announces {announced} frames, it holds {held}: was it cut off?"
    note = note if announced > held else None
    if kind.startswith("matroska") and packets and packets[-1].stamp is not None:  # it announces no number
        ends = float(packets[-1].stamp * tick)
        if lasts - ends > 1 + 2 / rate:
            note = f"its header announces {lasts:.1f} s, its last frame is at {ends:.1f} s: was it cut off?"
    # In MPEG a jump may give a frame the stamp of its neighbour; in AVI that has lost frames it gives other stamps.
    seeks = not kind.startswith("mpeg") and not (kind == "avi" and note)
    packets = [packet for packet in packets if not packet.is_discard]  # what an editor has cut off
    if not packets:
        raise UnreadableImageError("a video without a frame")
    with open_container(path) as container:
        stream = find_stream(container)
        first = next(decode_all(container, stream), None)
        reordered = kind == "avi" and stream.codec_context.has_b_frames  # its packets are stamped as they lie, not as shown
    if first is None:
        held = counted(len(packets), "frame")
        raise UnreadableImageError(f"a video of {held}, none of which can be decoded: its codec is unknown or it is damaged")
    width, height = find_size(first)
    stamps = {packet.stamp for packet in packets}
    timed = None not in stamps and len(stamps) == len(packets) and not reordered
    if timed:
        packets.sort(key=lambda packet: packet.stamp)
        keys = [number for number, packet in enumerate(packets) if packet.is_key and seeks] or [0]
        key_stamps = [packets[number].stamp if packets[number].due is None else packets[number].due for number in keys]
    else:  # as some AVI: what it holds is known when all of it is decoded
        with open_container(path) as container:
            stamps, tick = range(sum(1 for _ in decode_all(container, find_stream(container)))), 1 / rate
        keys, key_stamps = [0], [0]
    shown, keys, key_stamps = (np.array(values, np.int64) for values in (sorted(stamps), keys, key_stamps))
    return Video(path, width, height, Fraction(rate), shown, Fraction(tick), keys, key_stamps, timed, note)


class Packet(NamedTuple):
    """An encoded frame."""

    stamp: int | None  # when it is shown
    due: int | None  # when it must be decoded
    is_key: bool  # needs no other
    is_discard: bool  # is not shown


def open_container(path: Path) -> "InputContainer":
    import av

    try:
        with path.open("rb") as file:
            begin = file.read(197)
    except OSError as error:
        raise UnreadableImageError(f"cannot be read: {error.strerror}") from error
    packets = any(begin[part] == b"GG" for part in TS_PACKETS)
    kind = "mov" if begin[4:8] in MP4 else "mpegts" if packets else BEGINNINGS.get(begin[:4])
    if kind is None or (kind == "avi" and begin[8:12] != b"AVI "):
        raise UnreadableImageError("not a video" if begin else "an empty file")
    try:
        return av.open(os.path.abspath(path), format=kind)  # in a relative path a colon would make it an address
    except av.FFmpegError as error:
        lost = ": its index (moov) is missing" if kind == "mov" else ""
        why = f"a video that was cut off or is damaged{lost}; copy or record it again"
        raise UnreadableImageError(f"{why} ({in_one_line(error.strerror or error)})") from error


def find_stream(container: "InputContainer") -> "VideoStream":
    """The first that is no picture of a sound file's cover."""
    from av.stream import Disposition

    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        raise UnreadableImageError("it has no pictures, only " + ("sound" if container.streams.audio else "other data"))
    if streams[0].codec_context is None:
        raise UnreadableImageError("its codec is unknown")
    if not streams[0].codec_context.is_open:
        streams[0].thread_type = "NONE" if streams[0].width * streams[0].height <= SMALL else "AUTO"
    return streams[0]


def read_packets(container: "InputContainer", stream: "VideoStream") -> Iterator[Packet]:
    import av

    with suppress(av.FFmpegError):  # the file ends in the middle of a frame
        for packet in container.demux(stream):
            if packet.size:
                yield Packet(packet.pts, packet.dts, packet.is_keyframe, packet.is_discard)


def decode_all(container: "InputContainer", stream: "VideoStream") -> Iterator["VideoFrame"]:
    """From where the container stands; what cannot be decoded is left out."""
    import av

    with suppress(av.FFmpegError):
        for packet in container.demux(stream):
            with suppress(av.FFmpegError):
                yield from packet.decode()
        return
    with suppress(av.FFmpegError):  # the file ends in the middle of a frame: those that the decoder still holds
        yield from stream.decode(None)


class Reader:
    """Frames of one video, each by its number; for one thread at a time.

    It goes on from the frame that it read last, or jumps to one that needs no other where that is faster.
    """

    def __init__(self, video: Video):
        self.video = video
        self.container: InputContainer | None = None
        self.frames: Iterator[VideoFrame] = iter(())
        self.frame: VideoFrame | None = None  # where it stands; None: behind the last
        # The frame's stamp, and another: whatever lies between them and is not `frame` cannot be decoded.
        self.stamp = self.since = END

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        if self.container is not None:
            self.container.close()
        self.container, self.since = None, END

    def read(self, number: int) -> "VideoFrame":
        """UnreadableImageError if there is no such frame, or it cannot be decoded."""
        if not 0 <= number < len(self.video):
            raise UnreadableImageError(f"no such frame: the video has {counted(len(self.video), 'frame')}")
        wanted = int(self.video.stamps[number])
        if not self.comes_soon(number, wanted):
            self.jump(number, wanted)
        while self.stamp < wanted:
            self.advance()
        if self.stamp != wanted:
            raise UnreadableImageError("this frame of the video cannot be decoded")
        return self.frame

    def comes_soon(self, number: int, wanted: int) -> bool:
        if wanted <= self.since:
            return False
        key = self.video.keys[self.find_key(number)]
        return wanted <= self.stamp or key - np.searchsorted(self.video.stamps, self.stamp) < WORTH_SEEKING

    def find_key(self, number: int) -> int:
        """Which of the keys is the last that is not behind the frame."""
        return max(0, int(np.searchsorted(self.video.keys, number, "right")) - 1)

    def jump(self, number: int, wanted: int) -> None:
        """Containers seek by different clocks and some inexactly: what comes too late is tried again from further ahead."""
        video, key = self.video, self.find_key(number)
        before = max(0, key - 1)
        starts = [video.stamps[video.keys[key]], video.key_stamps[key], video.stamps[video.keys[before]]]
        for start in starts if video.timed and key else ():
            self.start(int(start))
            if self.stamp <= wanted:
                return
        self.start()

    def start(self, stamp: int | None = None) -> None:
        """Stand on the first frame from there on, or of all."""
        import av

        if stamp is None or self.container is None:
            self.close()
            self.container = open_container(self.video.path)
        stream = find_stream(self.container)
        self.frames, self.stamp, self.since = iter(()), -END, -END
        with suppress(av.FFmpegError):  # a container that cannot seek
            if stamp is not None:
                self.container.seek(stamp, stream=stream)
            self.frames = decode_all(self.container, stream)
        self.advance()
        if stamp is not None:
            shown = self.video.stamps[self.video.keys]
            while self.frame is not None and self.stamp not in shown:  # built upon frames that were jumped over
                self.advance()
            self.since = self.stamp - 1

    def advance(self) -> None:
        self.since, self.frame = self.stamp, next(self.frames, None)
        if self.frame is None:
            self.stamp = END
        elif self.video.timed:
            self.stamp = self.frame.pts
        else:
            self.stamp = max(0, self.since + 1)
