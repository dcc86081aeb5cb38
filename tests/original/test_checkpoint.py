"""MODEL may be a checkpoint of the reference implementation: what it computes through every command, and what is refused."""

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from ppl_cli.checkpoints.model_file import load_model
from ppl_cli.cli.app import main
from ppl_cli.errors import UsageError
from tests import lookalike
from tests.conftest import relative_error
from tests.model import parity


@pytest.fixture(scope="module")
def arrays():
    return parity.arrays()


@pytest.fixture(scope="module")
def checkpoint(arrays, tmp_path_factory) -> Path:
    """Of the full size, its tensors said to lie on a GPU, as most will."""
    file = tmp_path_factory.mktemp("reference") / "look.pth"
    lookalike.save(file)
    on_gpu = file.with_name("gpu.pth")
    rewrite(file, on_gpu, lambda pickled: pickled.replace(b"X\3\0\0\0cpu", b"X\6\0\0\0cuda:0"))
    return on_gpu


@pytest.fixture
def tiny_reference(tmp_path) -> Path:
    file = tmp_path / "tiny.pth"
    lookalike.save(file, **lookalike.TINY, change=smaller_prior)
    return file


def smaller_prior(model: torch.nn.Module) -> None:
    with torch.no_grad():
        model.memory.recover_embed.weight.mul_(0.3)


def rewrite(source: Path, target: Path, change) -> None:
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        for member in before.infolist():
            content = before.read(member)
            after.writestr(member.filename, change(content) if member.filename.endswith("data.pkl") else content)


def ppl(*arguments) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code or 0


def test_its_tensors_are_those_of_the_parity_arrays(arrays, checkpoint):
    """The look-alike has every name and shape of a real checkpoint, and no other."""
    shapes = json.loads((parity.FOLDER / "reference_n16_state_dict.json").read_text())
    with lookalike.reference_classes() as make:
        state = lookalike.build(make).state_dict()
    own = {name: list(tensor.shape) for name, tensor in state.items() if not name.startswith("vgg_loss.")}
    assert own == shapes
    assert b"cuda:0" in zipfile.ZipFile(checkpoint).read("look/data.pkl")


def test_infer_gives_the_reference_keypoints(arrays, checkpoint, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    for number, pixels in enumerate(arrays["images_uint8_bchw"]):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(images / f"{number}.png")
    assert ppl("infer", checkpoint, images, "--out", tmp_path / "poses", "--device", "cpu") == 0
    found = np.load(tmp_path / "poses" / "keypoints.npz")
    normalised = found["keypoints_px"] * 2 / 127 - 1
    assert relative_error(normalised[..., ::-1], arrays["keypoints_yx"]) < 1e-4
    assert relative_error(found["prior"][:, ::-1], arrays["keypoint_prior_yx"]) < 1e-4
    assert relative_error(found["links"], arrays["edge_weights"]) < 1e-4
    with (tmp_path / "poses" / "keypoints.csv").open(newline="") as file:
        written = [(float(row["y"]), float(row["x"])) for row in csv.DictReader(file)]
    pixels = (arrays["keypoints_yx"] + 1) * 127 / 2
    assert np.abs(np.array(written).reshape(pixels.shape) - pixels).max() < 0.01


@torch.no_grad()
def test_what_its_attributes_say_is_taken_over(checkpoint, arrays):
    """The thickness decides the skeleton map, the attribute sklr how links are scaled."""
    loaded = load_model(checkpoint)
    assert (loaded.config.data.resize, loaded.config.model.image_size, loaded.config.model.thickness) == ("squash", 128, 7.5e-5)
    assert (loaded.config.reference.cells, loaded.config.reference.missing) == (16, 0.8)
    assert not loaded.model.training
    drawn = loaded.model.draw(torch.as_tensor(arrays["pose_yx"][..., ::-1].copy()))
    assert relative_error(drawn, arrays["skeleton_map"]) < 1e-4


def test_other_sizes_and_missing_attributes(tmp_path):
    file = tmp_path / "small.pth"

    def prune(model):
        del model.num_parts, model.aug, model.vgg_loss, model.regressor.coord
        model.sklr, model.block, model.missing = 256.0, "8x8", None

    lookalike.save(file, **{**lookalike.TINY, "keypoints": 7, "image_size": 64}, change=prune)
    loaded = load_model(file)
    sizes = loaded.model.sizes
    assert (sizes.keypoints, sizes.width, sizes.banks, sizes.vectors, sizes.dimension, sizes.image_size) == (
        7,
        4,
        3,
        4,
        16,
        128,
    )
    assert (loaded.config.reference.cells, loaded.config.reference.missing) == (16, 0.8)
    raw = parity.formula("skeleton_scalar", (7, 7))
    weights = torch.nn.functional.softplus(256 * raw).triu(1)
    assert torch.allclose(loaded.model.link_weights(), weights + weights.T)


def test_refine_eval_and_export_run_on_it(tiny_reference, tmp_path, pictures, capsys):
    assert ppl("refine", tiny_reference, pictures, "--out", tmp_path / "refined", "--iterations", 2, "--device", "cpu") == 0
    assert np.load(tmp_path / "refined" / "keypoints_iterations.npz")["keypoints_px"].shape == (8, 3, 5, 2)
    out = tmp_path / "prior"
    assert ppl("export-prior", tiny_reference, "--out", out, "--data", pictures, "--device", "cpu") == 0
    with torch.no_grad():
        expected = load_model(tiny_reference).model.distil_prior().numpy()
    keypoints = json.loads((out / "prior.json").read_text())["keypoints"]
    assert np.allclose([(keypoint["x"], keypoint["y"]) for keypoint in keypoints], expected, atol=1e-6)

    data = coco_folder(tmp_path / "annotated")
    assert (
        ppl("eval", tiny_reference, "--data", data, "--protocol", "regression", "--out", tmp_path / "eval", "--device", "cpu")
        == 0
    )
    report = json.loads((tmp_path / "eval" / "eval.json").read_text())
    assert np.isfinite(report["models"][0]["protocols"]["regression"]["value"])


def coco_folder(folder: Path) -> Path:
    from ppl_cli.data.figures import figure

    folder.mkdir()
    for part, first in (("train", 0), ("test", 50)):
        images, annotations = [], []
        for number in range(first, first + 12):
            pixels, keypoints = figure(number, 32)
            Image.fromarray(pixels).save(folder / f"{number}.png")
            images.append({"id": number, "file_name": f"{number}.png", "width": 32, "height": 32})
            points = [value for x, y in keypoints for value in ((x + 1) * 15.5, (y + 1) * 15.5, 2)]
            annotations.append({"id": number, "image_id": number, "category_id": 1, "keypoints": points})
        (folder / f"{part}.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return folder


@pytest.mark.usefixtures("no_pictures")
def test_training_starts_from_it(tiny_reference, tmp_path, tiny_yaml, capsys):
    """With a rate of almost 0, the weights after a step are those it started from."""
    out = tmp_path / "run"
    settings = ["--set", "train.steps=1", "--set", "train.learning_rate=1e-12", "--device", "cpu"]
    assert ppl("train", tiny_yaml, "--init", tiny_reference, "--out", out, *settings) == 0
    assert yaml.safe_load((out / "config.yaml").read_text())["train"]["init"] == str(tiny_reference)
    theirs, ours = load_model(tiny_reference).model, load_model(out).model
    for (name, before), after in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        assert torch.allclose(before, after, atol=1e-6), name
    # Going on with the run does not start again.
    tiny_reference.unlink()
    assert ppl("train", out / "config.yaml", "--out", out, "--resume", "--set", "train.steps=2", "--device", "cpu") == 0
    capsys.readouterr()
    assert ppl("train", tiny_yaml, "--init", out, "--out", out, "--resume") == 2
    assert "--init: a resumed run goes on from its own weights" in capsys.readouterr().err
    assert ppl("train", tiny_yaml, "--init", out, "--out", tmp_path / "x", "--set", "model.width=8") == 2
    assert "other sizes than the model to be trained: add --set model.width=4" in capsys.readouterr().err
    assert ppl("train", tiny_yaml, "--init", tmp_path / "nothing", "--out", tmp_path / "x") == 2
    assert "no model at" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def put(name: str, value: object):
    return lambda model: setattr(model, name, value)


def reshape(name: str, *shape: int):
    def change(model):
        *path, last = name.split(".")
        owner = model.get_submodule(".".join(path))
        values = torch.zeros(*shape)
        setattr(owner, last, torch.nn.Parameter(values) if last in owner._parameters else values)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("thick", float("nan")), "its attribute thick is not a number"),
        (put("thick", -1.0), "its attribute thick is not a number"),
        (put("thick", 0.0), "model.thickness: expected a number greater than 0"),
        (put("num_parts", "16"), "its attribute num_parts is not a number"),
        (put("num_parts", 6), "num_parts is 6, its links join 5 keypoints"),
        (lambda model: delattr(model, "thick"), "its attribute thick is missing"),
        (put("alpha", torch.nn.Parameter(torch.ones(2))), "alpha is 2 of float32, expected one number of float32"),
        (put("alpha", torch.nn.Parameter(torch.tensor(torch.inf))), "alpha holds numbers that are not finite"),
        (put("alpha", None), "alpha is missing"),
        (reshape("memory.token_mlp.weight", 3, 6), r"memory.token_mlp.weight is 3x6 of float32, expected 3x5"),
        (reshape("regressor.conv.0.net.0.weight", 8, 3, 3, 3), "conv_res.0.weight is 4x3x3x3 .* expected 8x3x3x3"),
        (reshape("skeleton_scalar", 200, 200), "num_parts is 5"),
        (lambda model: model.double(), "it names torch.DoubleStorage"),
        (lambda model: setattr(model.regressor, "extra", torch.nn.Linear(2, 2)), "regressor.extra.weight has no place"),
        (lambda model: put("codebook", torch.zeros(3, 4, 16).long())(model.memory), "memory.codebook is .* of int64"),
        (lambda model: setattr(model, "memory", None), "the tensor memory.codebook is missing"),
    ],
)
def test_what_does_not_fit_is_said_by_name(tmp_path, change, said):
    file = tmp_path / "bad.pth"
    lookalike.save(file, **lookalike.TINY, change=change)
    with pytest.raises(UsageError, match=said) as caught:
        load_model(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_else_torch_saves_is_named(tmp_path):
    def refused(content, words, **options):
        torch.save(content, tmp_path / "other.pth", **options)
        with pytest.raises(UsageError, match=words):
            load_model(tmp_path / "other.pth")

    refused({"model": torch.zeros(2)}, "holds dict, not a whole model of the original implementation")
    refused(torch.zeros(2), "holds _rebuild_tensor_v2, not a whole model")
    refused(torch.nn.Linear(2, 2), "holds Linear, not a whole model")
    refused([1], "format of torch before 1.6", _use_new_zipfile_serialization=False)
