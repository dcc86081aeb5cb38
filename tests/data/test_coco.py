"""COCO's fields at their meaning: random files against pycocotools' own answer, and what is said of faulty ones."""

import json
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.coco import read_coco
from ppl_cli.data.datasets import list_part
from ppl_cli.data.layouts import detect_kind
from ppl_cli.errors import UsageError

NAMES = ["a.png", "sub/b.png", "sub/c.png", "d é.png"]
KEYPOINTS = {1: ["nose", "tail"], 2: ["beak", "wing", "foot"]}
numbers = st.integers(2, 99).map(float)
missing = st.sampled_from(["kept", "left out", "null"])


@st.composite
def objects(draw, images):
    category = draw(st.sampled_from([1, 1, 1, 2]))
    triples = [[draw(numbers), draw(numbers), draw(st.sampled_from([0, 1, 2]))] for _ in KEYPOINTS[category]]
    found = {
        "image_id": draw(st.sampled_from(images)),
        "category_id": category,
        "keypoints": [value for triple in triples for value in triple],
        "iscrowd": draw(st.sampled_from([0, 0, 0, 1])),
        "bbox": [0, 0, draw(numbers), draw(numbers)],
        "area": draw(numbers),
    }
    for field in ("iscrowd", "bbox", "area"):
        match draw(missing):
            case "left out":
                del found[field]
            case "null":
                found[field] = None
    return found


@st.composite
def files(draw):
    ids = draw(st.lists(st.integers(0, 10**6), min_size=1, max_size=4, unique=True))
    images = [{"id": key, "file_name": name} for key, name in zip(ids, NAMES, strict=False)]
    for image in images:
        size = draw(st.sampled_from([{}, {"width": 0, "height": None}, {"width": 9, "height": 7}]))
        image.update(size)
    annotations = draw(st.lists(objects(ids), max_size=8))
    annotations = [{**found, "id": number} for number, found in enumerate(annotations, 1)]
    categories = [{"id": key, "name": f"category{key}", "keypoints": names} for key, names in KEYPOINTS.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def disguise(content: dict, separator: str, text_ids: str) -> dict:
    """The same file as other tools write it."""
    content = json.loads(json.dumps(content))
    for image in content["images"]:
        image["file_name"] = image["file_name"].replace("/", separator)
        image["id"] = str(image["id"]) if text_ids == "images" else image["id"]
    for found in content["annotations"]:
        found["image_id"] = str(found["image_id"]) if text_ids == "annotations" else found["image_id"]
        found["category_id"] = str(found["category_id"]) if text_ids == "annotations" else found["category_id"]
    return content


def expected_from_pycocotools(content: dict, category: int) -> dict[str, np.ndarray]:
    """File name -> keypoints of the largest object, chosen by pycocotools, its areas where a file has none (as in loadRes)."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = json.loads(json.dumps(content))
    for found in coco.dataset["annotations"]:
        found["iscrowd"] = found.get("iscrowd") or 0
        x, y, seen = (np.array(found["keypoints"][at::3]) for at in range(3))
        if not found.get("area"):
            box = found.get("bbox")
            extent = np.ptp(x[seen > 0]) * np.ptp(y[seen > 0]) if seen.any() else 0
            found["area"] = box[2] * box[3] if box else extent
    with redirect_stdout(StringIO()):
        coco.createIndex()
    poses = {}
    for image in coco.loadImgs(coco.getImgIds()):
        chosen = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]], catIds=[category], iscrowd=False))
        chosen = [found for found in chosen if any(found["keypoints"][2::3])]
        if chosen:
            triples = np.array(max(chosen, key=lambda found: found["area"])["keypoints"]).reshape(-1, 3)
            poses[image["file_name"]] = np.where(triples[:, 2:] > 0, triples[:, :2], np.nan)
    return poses


@given(
    files(), st.sampled_from([1, 2]), st.sampled_from(["/", "\\", "/./", "//"]), st.sampled_from(["", "images", "annotations"])
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_read_is_what_pycocotools_gives(content, category, separator, text_ids):
    expected = expected_from_pycocotools(content, category)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "x.json")
        file.write_text(json.dumps(disguise(content, separator, text_ids)))
        if not expected:
            with pytest.raises(UsageError):
                read_coco(file, Path(folder), category=f"category{category}")
            return
        listing = read_coco(file, Path(folder), category=f"category{category}")
    assert set(listing.names) == set(expected)
    for name, keypoints in zip(listing.names, listing.keypoints, strict=True):
        assert np.array_equal(keypoints, expected[name], equal_nan=True)
    assert listing.keypoint_names == KEYPOINTS[category]
    sizes = {image["file_name"]: (image.get("width"), image.get("height")) for image in content["images"]}
    for name, size in zip(listing.names, listing.sizes, strict=True):
        assert size == ((9, 7) if sizes[name] == (9, 7) else None)


def write(root: Path, images: list[dict], annotations: list[dict], name: str = "test.json", draw: bool = True) -> Path:
    for image in images if draw else ():
        path = root / image["file_name"].replace("\\", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32)).save(path)
    categories = [{"id": 1, "name": "x", "keypoints": ["a", "b"]}]
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return file


def pose(image_id, *points, **more) -> dict:
    flat = [value for x, y in points or [(5, 6), (7, 8)] for value in (x, y, 2)]
    return {"id": 1, "image_id": image_id, "category_id": 1, "keypoints": flat, **more}


def read(root: Path, **settings):
    return list_part(DataConfig(kind="coco", path=str(root), **settings), "test", 0, 32)


@pytest.mark.parametrize("again", ["./sub/a.png", "sub\\a.png", "sub//a.png"])
def test_an_image_listed_twice_counts_once(tmp_path, again):
    images = [{"id": 1, "file_name": "sub/a.png"}, {"id": 2, "file_name": again}]
    write(tmp_path, images, [pose(1), pose(2)])
    listing = read(tmp_path)
    assert listing.names == ["sub/a.png"]
    assert any("1 image listed more than once" in note for note in listing.notes)
    write(tmp_path, images, [pose(1), pose(2, (1, 2), (3, 4))])
    with pytest.raises(UsageError, match=r"sub/a\.png is annotated twice and differently \(image id 1, image id 2\)"):
        read(tmp_path)


def test_names_are_one_whatever_the_unicode_form(tmp_path):
    composed, decomposed = "\u00e9.png", "e\u0301.png"
    write(tmp_path, [{"id": 1, "file_name": decomposed}, {"id": 2, "file_name": "other.png"}], [pose(1), pose(2)])
    write(tmp_path, [{"id": 1, "file_name": composed}, {"id": 2, "file_name": "other2.png"}], [pose(1)], draw=False)
    listing = read(tmp_path)
    assert np.asarray(listing.open_image(0)).shape == (32, 32, 3)


def test_paths_of_another_machine_are_found_by_their_last_parts(tmp_path):
    for name in ("images/mouse/1.png", "images/rat/1.png", "images/rat/2.png"):
        write(tmp_path, [{"file_name": name}], [], name="x.txt")
    for base in ("/home/a/project/", "C:\\Users\\someone\\project\\", "https://somewhere.org/project/", "../../project/"):
        write(
            tmp_path,
            [{"id": 1, "file_name": f"{base}rat/1.png"}, {"id": 2, "file_name": f"{base}2.png"}],
            [pose(1), pose(2)],
            draw=False,
        )
        listing = read(tmp_path)
        assert listing.names == ["images/rat/1.png", "images/rat/2.png"]
        assert any("2 images found by the last parts" in note for note in listing.notes)
    write(tmp_path, [{"id": 1, "file_name": "/home/1.png"}], [pose(1)], draw=False)
    with pytest.raises(UsageError, match=r"1\.png could be images/mouse/1\.png or images/rat/1\.png; say where"):
        read(tmp_path)
    assert read(tmp_path, images="images/mouse").names == ["images/mouse/1.png"]


def test_a_missing_image_is_not_taken_from_another_folder(tmp_path):
    for name in ("train/1.png", "train/2.png", "test/1.png"):
        write(tmp_path, [{"file_name": name}], [], name="x.txt")
    write(tmp_path, [{"id": k, "file_name": f"test/{k}.png"} for k in (1, 2)], [pose(1), pose(2)], draw=False)
    assert read(tmp_path).names == ["test/1.png", "test/2.png"]  # the second cannot be read, which eval says
    (tmp_path / "test/1.png").unlink()
    with pytest.raises(UsageError, match=r"none of its 2 images is there; .*--images FOLDER"):
        read(tmp_path)


def test_who_learns_hears_of_images_without_an_annotation(tmp_path):
    images = [{"id": k, "file_name": f"{k}.png"} for k in (1, 2, 3)]
    write(tmp_path, images, [pose(1), pose(2), pose(3) | {"keypoints": [0, 0, 0]}], name="train.json")
    train = list_part(DataConfig(kind="coco", path=str(tmp_path)), "train", 0, 32)
    assert train.names == ["1.png", "2.png"]
    assert any("1 of 3 images without an annotated keypoint, left out" in note for note in train.notes)


def test_names_may_be_written_as_in_a_link(tmp_path):
    write(tmp_path, [{"file_name": "my mouse.png"}], [], name="x.txt")
    write(tmp_path, [{"id": 1, "file_name": "my%20mouse.png"}], [pose(1)], draw=False)
    assert read(tmp_path).names == ["my mouse.png"]


def test_two_keypoints_of_one_name_are_told_apart(tmp_path):
    write(tmp_path, [{"id": 1, "file_name": "1.png"}], [pose(1)])
    content = json.loads((tmp_path / "test.json").read_text())
    count = len(content["annotations"][0]["keypoints"]) // 3
    content["categories"] = [{"id": 1, "keypoints": ["paw"] * count}]
    content["annotations"][0]["category_id"] = 1
    (tmp_path / "test.json").write_text(json.dumps(content))
    listing = read(tmp_path)
    assert listing.keypoint_names == ["paw", *(f"paw-{number}" for number in range(2, count + 1))]
    assert "several keypoints are called paw: the second is paw-2 here" in listing.notes


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({"annotations": [{"image_id": 1, "keypoints": []}], "images": []}, "coco"),
        ({"categories": [{"keypoints": ["nose"]}], "images": []}, "coco"),
        ({"info": {}, "licenses": [], "images": []}, "coco"),
        ({"format_version": 1, "images": 25}, None),
        ([{"image_id": 1, "keypoints": []}], None),
        ({"annotations": [{"shape": "box"}]}, None),
    ],
)
def test_a_file_is_known_by_its_lists_in_any_order(tmp_path, content, kind):
    (tmp_path / "result.json").write_text(json.dumps(content, indent=1))
    assert detect_kind(tmp_path, None, None) == kind


def test_images_that_lie_elsewhere(tmp_path):
    data, elsewhere = tmp_path / "data", tmp_path / "pictures"
    write(elsewhere, [{"file_name": "1.png"}], [], name="x.txt")
    write(data, [{"id": 1, "file_name": "1.png"}], [pose(1)], draw=False)
    listing = read(data, images=str(elsewhere))
    assert listing.names == ["../pictures/1.png"]
    assert listing.open_image(0).size == (32, 32)
    with pytest.raises(UsageError, match="--images nowhere: no such folder"):
        read(data, images="nowhere")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "expected an object with images, annotations and categories"),
        ('{"images": []}', "annotations is missing"),
        ('{"images": [{"id": 1}], "annotations": []}', r"images\[0\]\.file_name is missing"),
        ('{"images": [{"id": 1, "file_name": 3}], "annotations": []}', r"images\[0\]\.file_name is not text"),
        ('{"images": 3, "annotations": []}', "images is not a list"),
        ('{"images": [], "annotations": [{"image_id": 1, "keypoints": ["x"]}]}', r"keypoints\[0\] is not a number"),
        ('{"images": [', "it is not JSON: EOF while parsing"),
        ('{"images": [], "annotations": [{"image_id": 9, "keypoints": [1, 1, 2]}]}', r"does not list \(the first: image_id 9"),
        ('{"images": [{"id": 1, "file_name": "a"}, {"id": "1", "file_name": "b"}], "annotations": []}', "share the image id 1"),
    ],
)
def test_faulty_files_are_told_in_words(tmp_path, content, said):
    (tmp_path / "test.json").write_text(content)
    with pytest.raises(UsageError, match=said) as raised:
        read(tmp_path)
    assert not any(word in str(raised.value) for word in ("Error", "Traceback", "\n", "validation"))
