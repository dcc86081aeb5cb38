import json

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_cli.config.sections import DataConfig
from ppl_cli.data.datasets import list_part
from ppl_cli.data.references import keep_mask
from ppl_cli.errors import PPLError, UsageError
from tests.training_images import open_dataset


def open_folder(path, size=32, **settings):
    return open_dataset(DataConfig(path=str(path), **{"kind": "folder", **settings}), size, seed=0)


def test_folder_caches_every_image_once(pictures):
    images = open_folder(pictures)
    assert len(images) == 8
    assert images.cache.shape == (8, 3, 32, 32)
    assert images.cache.dtype == torch.uint8
    assert images.names == [*(f"{i}.jpg" for i in range(6)), "sub/6.png", "sub/7.png"]
    assert torch.equal(images.fetch(torch.tensor([3, 3, 1]))[0], images.cache[3])


def test_streaming_gives_the_same_pixels_as_the_cache(pictures):
    cached, streamed = open_folder(pictures), open_folder(pictures, cache_gib=0)
    assert streamed.cache is None
    order = torch.tensor([5, 0, 7, 7])
    assert torch.equal(cached.fetch(order), streamed.fetch(order))


@pytest.mark.parametrize("cache_gib", [0, 1])
def test_a_gpu_copies_batches_from_pinned_memory(pictures, monkeypatch, cache_gib):
    images, order = open_folder(pictures, cache_gib=cache_gib), torch.tensor([5, 0])
    expected, pinned = images.fetch(order), []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor.shape) or tensor)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
    assert not images.move_cache(torch.device("cpu"))
    images.fetch(order)
    assert pinned == []
    assert not images.move_cache(torch.device("cuda"))  # no room for them: batches come from this machine's memory
    assert torch.equal(images.fetch(order), expected)
    assert pinned == [(2, 3, 32, 32)]


def test_a_cache_on_a_gpu_is_indexed_there(pictures, monkeypatch):
    images, pinned = open_folder(pictures), []
    images.cache, images.pins = images.cache.to("meta"), True
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor.shape) or tensor)
    assert images.fetch(torch.tensor([5, 0])).device.type == "meta"
    assert pinned == [(2,)]


def test_unreadable_images_are_left_out_and_named(pictures):
    (pictures / "broken.jpg").write_text("not an image")
    images = open_folder(pictures)
    assert len(images) == 8
    assert images.skipped == [("broken.jpg", "not an image, or of an unknown format")]
    streamed = open_folder(pictures, cache_gib=0)
    streamed.fetch(torch.arange(len(streamed)))
    assert streamed.skipped == images.skipped
    with pytest.raises(PPLError, match=r"broken\.jpg"):
        open_dataset(DataConfig(kind="folder", path=str(pictures)), 32, 0, strict=True)


def test_only_unreadable_images_is_an_error(tmp_path):
    (tmp_path / "a.jpg").write_text("no")
    with pytest.raises(PPLError, match=r"the only image cannot be read: a\.jpg: not an image"):
        open_folder(tmp_path)
    with pytest.raises(PPLError, match=r"the only image cannot be read: a\.jpg: not an image"):
        open_folder(tmp_path, cache_gib=0).fetch(torch.tensor([0]))


def test_split_takes_train_beside_test_or_a_share(pictures, tmp_path):
    for name in ("train", "test"):
        (pictures / name).mkdir()
        Image.new("RGB", (9, 9)).save(pictures / name / "x.png")
    assert open_folder(pictures).names == ["train/x.png"]
    assert open_folder(pictures, split="test").names == ["test/x.png"]
    assert len(open_folder(pictures, split="all")) == 10
    assert len(open_folder(pictures, split=0.5)) == 5
    with pytest.raises(UsageError, match="no sub-folder 'valley'"):
        open_folder(pictures, split="valley")


def test_video_frames_know_their_video_and_another_frame_of_it(tmp_path):
    for video, count in {"b": 3, "a": 1, "a2": 4}.items():
        (tmp_path / video).mkdir()
        for frame in range(count):
            Image.new("RGB", (16, 16)).save(tmp_path / video / f"{frame}.png")
    images = open_folder(tmp_path, size=16, kind="video_frames")
    indices = torch.arange(8).repeat(20)
    others = images.other_frames(indices, torch.Generator().manual_seed(0))
    folder = np.array([name.split("/")[0] for name in images.names])
    assert (folder[indices] == folder[others]).all()
    alone = torch.tensor(folder[indices] == "a")
    assert (indices[alone] == others[alone]).all()
    assert (indices[~alone] != others[~alone]).all()
    assert len({(int(i), int(j)) for i, j in zip(indices, others, strict=True)}) > 10
    near = images.other_frames(indices, torch.Generator().manual_seed(0), near=1)
    neighbours = {(1, 2), (2, 3), (3, 4), (5, 6), (6, 7)}
    met = {(int(i), int(j)) for i, j in zip(indices, near, strict=True)}
    assert met == {(0, 0)} | neighbours | {(j, i) for i, j in neighbours}


def test_coco_reads_images_and_keypoints(pictures):
    content = {
        "images": [
            {"id": 5, "file_name": "0.jpg", "width": 64, "height": 64},
            {"id": 6, "file_name": "1.jpg", "width": 90, "height": 50},
        ],
        "annotations": [
            {"id": 1, "image_id": 5, "keypoints": [31.5, 31.5, 2, 0, 0, 0], "area": 5},
            {"id": 2, "image_id": 5, "keypoints": [1, 1, 2, 1, 1, 2], "area": 1},
        ],
        "categories": [{"id": 1, "name": "x", "keypoints": ["nose", "tail"]}],
    }
    (pictures / "train.json").write_text(json.dumps(content))
    assert open_folder(pictures, kind="coco").names == ["0.jpg"]
    listing = list_part(DataConfig(kind="coco", path=str(pictures), fit="train.json"), "fit", 0, 32)
    assert np.allclose(listing.keypoints[0, 0], [31.5, 31.5])
    assert np.isnan(listing.keypoints[0, 1]).all()


@pytest.mark.parametrize("content", ["{", "[]", '{"images": 3}', '{"images": [], "annotations": []}', "\xff"])
def test_a_bad_coco_file_is_named(pictures, content):
    (pictures / "train.json").write_text(content, encoding="latin-1")
    with pytest.raises(UsageError, match=r"train\.json"):
        open_folder(pictures, kind="coco")


def test_figures_are_a_function_of_the_seed():
    first, again, other = (open_dataset(DataConfig(kind="figures", figures=5), 48, seed) for seed in (1, 1, 2))
    assert torch.equal(first.cache, again.cache)
    assert not torch.equal(first.cache, other.cache)


def test_masks_hide_whole_cells_with_the_given_probability():
    mask = keep_mask(400, 8, 0.9, 48, torch.Generator().manual_seed(0))
    cells = mask.reshape(400, 8, 6, 8, 6)
    assert (cells.amax((2, 4)) == cells.amin((2, 4))).all()
    assert abs(mask.mean() - 0.1) < 0.01
    assert not torch.equal(mask[0], mask[1])
