"""The prior as a file: what is saved is loaded, byte for byte; what is wrong in one is said."""

import json

import numpy as np
import pytest

from ppl_cli.drawing.prior import save_svg
from ppl_cli.errors import UsageError
from ppl_cli.prior.prior import Bank, Prior, Prototype, load_prior, save_npz, save_prior

RNG = np.random.default_rng(0)


def example() -> Prior:
    links = RNG.random((4, 4)).astype(np.float32)
    links = np.triu(links, 1) + np.triu(links, 1).T
    pose = RNG.normal(size=(4, 2)).astype(np.float32)
    prototypes = [Prototype(frequency=0.7, keypoints=pose.tolist(), tokens=[1, 0], nearest_image="a/ü.png")]
    prototypes.append(Prototype(frequency=0.3, keypoints=(pose / 3).tolist(), tokens=[0, 1]))
    banks = [Bank.of(np.array([0.5, 0.5]), np.array([0.1, 0, 0, 0.2])), Bank.of(np.array([1.0, 0]), np.zeros(4))]
    return Prior.of(pose / 2, links, prototypes=prototypes, banks=banks)


def test_save_load_save_gives_the_same_file(tmp_path):
    save_prior(tmp_path / "a.json", example())
    save_prior(tmp_path / "b.json", load_prior(tmp_path / "a.json"))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert len((tmp_path / "a.json").read_text().splitlines()) < 30  # a line for each keypoint, row, prototype, bank


def test_strong_links_and_perplexity():
    links = np.zeros((4, 4))
    for i, j, weight in ((0, 1, 1.0), (0, 2, 0.4), (1, 2, 0.35), (0, 3, 0.2)):
        links[i, j] = links[j, i] = weight
    prior = Prior.of(np.zeros((4, 2)), links)
    assert prior.strong_links() == [(0, 1), (0, 2)]
    assert [bank.perplexity for bank in example().banks] == pytest.approx([2, 1])


def test_idle_keypoints_are_marked_and_all_are_useful_where_nothing_is_said(tmp_path):
    links = np.zeros((3, 3))
    links[0, 1] = links[1, 0] = 1.0
    prior = Prior.of(np.zeros((3, 2)), links, useful=np.array([True, True, False]))
    save_prior(tmp_path / "a.json", prior)
    assert [keypoint["useful"] for keypoint in json.loads((tmp_path / "a.json").read_text())["keypoints"]] == [
        True,
        True,
        False,
    ]
    assert load_prior(tmp_path / "a.json").useful.tolist() == [True, True, False]
    assert json.loads((tmp_path / "a.json").read_text())["format_version"] == 2
    old = prior.model_dump() | {"format_version": 1, "keypoints": [{"name": name, "x": 0, "y": 0} for name in "abc"]}
    (tmp_path / "old.json").write_text(json.dumps(old))
    save_prior(tmp_path / "new.json", load_prior(tmp_path / "old.json"))
    new = json.loads((tmp_path / "new.json").read_text())
    assert (new["format_version"], [keypoint["useful"] for keypoint in new["keypoints"]]) == (2, [True] * 3)
    assert Prior.of(np.zeros((3, 2)), links).useful.all()
    save_svg(tmp_path / "a.svg", prior)
    circles = [line for line in (tmp_path / "a.svg").read_text().splitlines() if "circle" in line or "title" in line]
    assert sum(", idle</title>" in line for line in circles) == 1
    assert sum('fill="#262a30" stroke="rgb' in line for line in circles) == 1


def test_npz_holds_the_same(tmp_path):
    prior = example()
    save_npz(tmp_path / "prior.npz", prior)
    found = np.load(tmp_path / "prior.npz")
    assert np.array_equal(found["keypoints"], prior.points)
    assert np.array_equal(found["links"], prior.weights)
    assert found["useful"].tolist() == [True] * 4
    assert found["prototypes"].shape == (2, 4, 2)
    assert found["frequency"].tolist() == [0.7, 0.3]
    assert found["tokens"].tolist() == [[1, 0], [0, 1]]
    assert found["nearest_image"].tolist() == ["a/ü.png", ""]
    assert found["bank_use"].shape == (2, 2)
    assert found["bank_moves"].shape == (2, 4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(format_version=3), "format version 3, this ppl reads up to 2"),
        (lambda c: c.pop("format_version"), "format_version must be a number from 1 to 2"),
        (lambda c: c["links"].pop(), "links must be a 4 x 4 matrix"),
        (lambda c: c["links"][0].__setitem__(1, 9.0), r"links must be symmetric: \[0\]\[1\] is 9"),
        (lambda c: [c["links"][0].__setitem__(1, -1.0)], r"links\[0\]\[1\]"),
        (lambda c: c["links"][2].__setitem__(2, 1.0), "cannot be linked with itself"),
        (lambda c: c["keypoints"][1].update(x=float("nan")), r"keypoints\[1\]\.x"),
        (lambda c: c["keypoints"][1].update(x=1e400), r"keypoints\[1\]\.x"),
        (lambda c: c["keypoints"][1].update(x=120.0), "looks like pixels"),
        (lambda c: c["keypoints"][1].update(name="a\nb"), "printable text on one line"),
        (lambda c: c["keypoints"][1].update(name="\ud800"), r"keypoints\[1\]\.name"),
        (lambda c: c["keypoints"][1].update(name=""), r"keypoints\[1\]\.name"),
        (lambda c: [c["links"][i].__setitem__(1 - i, 3.4e38) for i in (0, 1)], r"links\[0\]\[1\]"),
        (lambda c: c["keypoints"][1].update(name="k0"), "two keypoints have the same name"),
        (lambda c: c["keypoints"][1].update(z=3), r"keypoints\[1\]\.z"),
        (lambda c: c["prototypes"][0]["keypoints"].pop(), "prototype 0 has 3 keypoints, the prior 4"),
        (lambda c: c["banks"][1]["moves"].pop(), "bank 1 moves 3 keypoints"),
        (lambda c: c.update(keypoints=3), "keypoints"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, change, said):
    content = json.loads(json.dumps(example().model_dump()))
    change(content)
    file = tmp_path / "prior.json"
    file.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=said) as caught:
        load_prior(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"format_version": "1"}', "[" * 100000])
def test_what_is_no_prior_is_named(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UsageError, match=r"x\.json"):
        load_prior(tmp_path / "x.json")
    with pytest.raises(UsageError, match="No such file"):
        load_prior(tmp_path / "nothing.json")
