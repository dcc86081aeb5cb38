"""`keypoints.slp`: a project of SLEAP with the poses as predictions, upon the videos and images that they were found in.

sleap-io writes all but the predictions. It would hold each of them as an object, 5 KB a frame: they wait in files without a
name instead, and enter the arrays of the format at the end, block by block.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ppl_cli.data.pages import page_names
from ppl_cli.errors import PPLError
from ppl_cli.prior.prior import Prior
from ppl_cli.results.arrays import NpzColumns
from ppl_cli.results.clips import Clip, find_clip
from ppl_cli.results.pose import Pose
from ppl_cli.text import in_utf8

PREDICTED = 1  # SLEAP's type of an instance that no person has made
BLOCK = 2_000  # poses held at a time
NONE = -1  # no track, not made of another prediction


def check_sleap() -> None:
    """PPLError if sleap-io is not installed."""
    if find_spec("sleap_io") is None:
        raise PPLError('writing .slp files needs sleap-io: pip install "ppl-cli[formats]"')


class SleapProject(NpzColumns):
    """`unseen` takes the names of videos that SLEAP will open with their poses and without their frames."""

    def __init__(self, path: Path, prior: Prior, paths: Sequence[Path], unseen: list[str]):
        import sleap_io

        self.library, self.prior, self.paths, self.unseen = sleap_io, prior, paths, unseen
        n = len(prior.names)
        columns = {"video": ("<i8", ()), "frame": ("<i8", ()), "points": ("<f8", (n, 2)), "score": ("<f8", (n,))}
        super().__init__(path, columns, texts=())
        self.videos: dict[tuple[Clip, int, int], tuple[int, list[str]]] = {}  # their numbers and, of folders, the images

    def add(self, name: str, pose: Pose) -> None:
        if pose.width is None:
            return
        path = self.paths[pose.index]
        clip, frame = find_clip(name, path)
        # SLEAP takes the size of the first image of a folder for that of all.
        video, images = self.videos.setdefault((clip, pose.width, pose.height), (len(self.videos), []))
        if clip.is_folder:
            frame = len(images)
            images.append(str(path.absolute()))
        self.add_row(video=video, frame=frame, points=pose.keypoints, score=pose.confidence)

    def finish(self) -> None:
        sio, names = self.library, self.prior.names
        videos = []
        for (clip, width, height), (_, images) in self.videos.items():
            if clip.is_folder:
                video = sio.Video.from_filename(images)
                video.backend_metadata |= {"shape": (len(images), height, width, 3)}
            else:
                video = self.open_clip(clip, width, height)
            videos.append(video)
        links = [(names[i], names[j]) for i, j in self.prior.strong_links()]
        skeleton = sio.Skeleton(names, edges=links, name="prior")
        sio.Labels(videos=videos, skeletons=[skeleton]).save(str(self.path), format="slp", embed=False, verbose=False)
        self.fill_predictions()

    def open_clip(self, clip: Clip, width: int, height: int):
        """sleap-io's `Video`; of a kind of file that it does not know (webm, m4v, mpg, animations), name and shape alone."""
        path = in_utf8(str(clip.path.absolute()))
        try:
            if path != str(clip.path.absolute()):
                raise ValueError("not UTF-8, which sleap-io's readers do not survive")
            return self.library.Video.from_filename(path)
        except ValueError:
            self.unseen.append(clip.name)
            shape = (len(page_names(clip.path.parent, clip.path.name)), height, width, 3)
            return self.library.Video(path, backend_metadata={"filename": path, "shape": shape}, open_backend=False)

    def fill_predictions(self) -> None:
        import h5py

        n = len(self.prior.names)
        sizes = {"frames": 1, "instances": 1, "pred_points": n}  # rows for each pose
        for held in self.files.values():
            held.seek(0)
        with h5py.File(self.path, "a") as file:
            kinds = {name: file[name].dtype for name in sizes}
            for name, rows in sizes.items():
                del file[name]
                file.create_dataset(name, (self.count * rows,), kinds[name])
            for first in range(0, self.count, BLOCK):
                for name, columns in self.read_predictions(np.arange(first, min(first + BLOCK, self.count))).items():
                    rows = np.zeros(len(next(iter(columns.values()))), kinds[name])
                    for column, values in columns.items():
                        rows[column] = values
                    file[name][first * sizes[name] : first * sizes[name] + len(rows)] = rows

    def read_predictions(self, number: np.ndarray) -> dict[str, dict[str, np.ndarray | int]]:
        """The next poses, whose numbers are given, as columns of the format's tables."""
        video, frame, points, score = (
            np.frombuffer(held.read(len(number) * np.dtype((dtype, shape)).itemsize), dtype).reshape(-1, *shape)
            for held, (dtype, shape) in zip(self.files.values(), self.columns.values(), strict=True)
        )
        frames = {"frame_id": number, "video": video, "frame_idx": frame}
        frames |= {"instance_id_start": number, "instance_id_end": number + 1}
        instances = {"instance_id": number, "instance_type": PREDICTED, "frame_id": number, "track": NONE}
        instances |= {"from_predicted": NONE, "score": score.mean(1)}
        n = score.shape[1]
        instances |= {"point_id_start": n * number, "point_id_end": n * (number + 1)}
        x, y = points.reshape(-1, 2).T
        places = {"x": x, "y": y, "visible": True, "score": score.reshape(-1)}
        return {"frames": frames, "instances": instances, "pred_points": places}
