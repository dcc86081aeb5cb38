"""How pictures become a video: H.264 in an MP4 that browsers play and that begins before it is loaded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import numpy as np

from ppl_cli.data.video_images import EXACT
from ppl_cli.errors import PPLError
from ppl_cli.files import replacing

# The first that this FFmpeg has is taken: distributions leave out what is not free for them.
# bf: no frame waits for a later one, or a video whose rate varies would be said to end early. thread_type: several frames are
# encoded at once while the next is drawn; PyAV's default has threads share one frame, and whoever adds it waits. Of large
# frames every thread keeps several.
X264 = {"preset": "veryfast", "crf": "20", "bf": "0", "thread_type": "frame", "threads": "4"}
ENCODERS = {"libx264": X264, "libopenh264": {}, "h264": {}}
BITS = 0.2  # a pixel, for encoders that have no setting of quality
BT709 = 1  # the matrix, primaries and curve of HD: a video that does not say its own is shown in colours guessed by size


@contextmanager
def writing_video(
    path: Path, size: tuple[int, int], tick: Fraction, rate: Fraction
) -> Iterator[Callable[[np.ndarray, int], None]]:
    """Yields a function that adds a frame: (H, W, 3) uint8 in RGB, and when it is shown, in units of `tick` seconds.

    `size` is (width, height); an odd side gets one more pixel, a copy of its last, since H.264 halves the colours. The first
    frame is shown at 0, and the last as long as the others on average; a single one as long as one of `rate` a second.
    Whatever was at `path` stays until the end of the block. PPLError if the video cannot be written.
    """
    import av

    width, height = size
    odd, stamps = [(0, height % 2), (0, width % 2), (0, 0)], []
    encoder = find_encoder()
    with replacing(path) as temporary:
        try:
            with av.open(str(temporary.absolute()), "w", format="mp4", options={"movflags": "faststart"}) as container:
                stream = container.add_stream(encoder, rate=rate, options=ENCODERS[encoder])
                stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
                context = stream.codec_context
                stream.time_base = context.time_base = tick
                context.colorspace = context.color_primaries = context.color_trc = BT709
                if not ENCODERS[encoder]:
                    context.bit_rate = round(BITS * width * height * rate)

                def add(picture: np.ndarray, stamp: int) -> None:
                    stamps.append(stamp)
                    frame = av.VideoFrame.from_ndarray(np.pad(picture, odd, "edge") if np.any(odd) else picture)
                    frame = frame.reformat(format="yuv420p", dst_colorspace=BT709, interpolation=EXACT, threads=1)
                    frame.pts, frame.time_base = stamp - stamps[0], tick
                    write(stream.encode(frame))

                def write(packets: list[av.Packet]) -> None:
                    seconds = (stamps[-1] - stamps[0]) * tick / (len(stamps) - 1) if len(stamps) > 1 else 1 / rate
                    for packet in packets:
                        packet.duration = max(1, round(seconds / packet.time_base))  # only that of the last is looked at
                        container.mux(packet)

                yield add
                if not stamps:
                    raise PPLError(f"no frame to write into {path}")
                write(stream.encode(None))
        except av.FFmpegError as error:
            if isinstance(error, OSError):  # `replacing` knows a full disk
                raise
            raise PPLError(f"cannot write {path}: {error.strerror or error}") from error


def find_encoder() -> str:
    from av.codec import Codec

    for name in ENCODERS:
        with suppress(ValueError):
            return Codec(name, "w").name
    raise PPLError("this FFmpeg can write no H.264: install PyAV from its wheel, with pip install --force-reinstall av")
