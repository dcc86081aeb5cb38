"""`keypoints.coco.json`: COCO keypoint annotations, one for every image that could be read; skeleton = the strong links.

`file_name` is the whole path, so that readers find the images without being told where; `name` is that of the other tables.
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ppl_cli.data.frame import Frame
from ppl_cli.prior.prior import Prior
from ppl_cli.prior.skeletons import coco_category
from ppl_cli.results.pose import Pose
from ppl_cli.text import in_utf8


class KeypointsCoco:
    """Images are written as they come; annotations wait in a file without a name beside them."""

    def __init__(self, path: Path, prior: Prior, paths: Sequence[Path]):
        self.paths = paths
        self.file = path.open("w", encoding="utf-8")
        self.annotations = tempfile.TemporaryFile("w+", dir=path.parent, encoding="utf-8")  # noqa: SIM115
        self.file.write(f'{{"categories": [{json.dumps(coco_category(prior))}],\n"images": [')
        self.count = 0

    def add(self, name: str, pose: Pose) -> None:
        if pose.width is None:
            return
        self.count += 1
        comma = "," if self.count > 1 else ""
        place = in_utf8(self.paths[pose.index].absolute().as_posix())
        image = {"id": self.count, "file_name": place, "name": name, "width": pose.width, "height": pose.height}
        if pose.place.video is not None:
            image |= pose.place._asdict() | {"video": in_utf8(pose.place.video)}
        self.file.write(f"{comma}\n{json.dumps(image, ensure_ascii=False)}")
        self.annotations.write(f"{comma}\n{json.dumps(self.annotate(pose))}")

    def annotate(self, pose: Pose) -> dict[str, object]:
        # COCO's v: 2 seen in the picture, 1 hidden or beyond its edge.
        if pose.refined is not None:
            seen = pose.refined.visible[-1]
        else:
            seen = Frame(pose.width, pose.height, size=1).inside(pose.keypoints)  # whatever the size of the square
        places = zip(np.round(pose.keypoints, 6).tolist(), (1 + seen).tolist(), strict=True)
        low, high = pose.keypoints.min(0), pose.keypoints.max(0)
        annotation = {
            "id": self.count,
            "image_id": self.count,
            "category_id": 1,
            "keypoints": [value for (x, y), v in places for value in (x, y, v)],
            "num_keypoints": len(seen),
            "bbox": np.round([*low, *(high - low)], 6).tolist(),
            "area": round(float(np.prod(high - low)), 6),
            "iscrowd": 0,
        }
        if np.isfinite(pose.confidence).all():  # a model that is not calibrated has none, and JSON no NaN
            annotation["confidence"] = [round(value, 6) for value in pose.confidence.tolist()]
            annotation["score"] = round(float(pose.confidence.mean()), 6)
        return annotation

    def finish(self) -> None:
        self.file.write('\n],\n"annotations": [')
        self.annotations.seek(0)
        shutil.copyfileobj(self.annotations, self.file)
        self.file.write("\n]}\n")

    def close(self) -> None:
        try:
            self.annotations.close()
        finally:
            self.file.close()
