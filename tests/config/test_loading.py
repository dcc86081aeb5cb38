import re
from pathlib import Path

import pytest

from ppl_cli.cli.train import parse_settings
from ppl_cli.config.loading import load_config, shipped_configs, to_yaml
from ppl_cli.config.sections import Config
from ppl_cli.device import choose_compute
from ppl_cli.errors import UsageError
from ppl_cli.training.save import write_config

PAPER = {"h36m", "h36m_wobg", "taichi", "cub", "cub_three", "hands", "flowers", "horse", "dogs"}


def test_ships_a_configuration_for_every_data_set_of_the_paper():
    assert set(shipped_configs()) >= PAPER | {"quickstart", "folder"}


@pytest.mark.parametrize("name", sorted(shipped_configs()))
def test_every_shipped_configuration_is_valid_and_says_how_to_run_it(name):
    assert load_config(name).name == name
    assert f"ppl train {name}" in shipped_configs()[name].read_text()


def test_sizes_of_the_method():
    config = Config()
    assert (config.model.banks, config.model.vectors, config.model.dimension) == (34, 16, 512)
    assert (config.train.batch, config.train.steps, config.train.learning_rate) == (64, 20_000, 1e-4)
    assert load_config("h36m").model.thickness == 7.5e-5
    assert load_config("hands").train.steps == 5000
    assert load_config("cub").model.keypoints == 10
    assert not load_config("cub").train.flip


def test_a_setting_may_be_short():
    assert load_config("folder", parse_settings([" keypoints=5"])).model.keypoints == 5


def test_settings_are_values_of_yaml_or_of_python():
    config = load_config(
        "folder", parse_settings(["train.steps=5", "train.flip=false", "name=mine"]) | {"data.path": Path("x")}
    )
    assert (config.train.steps, config.train.flip, config.name) == (5, False, "mine")
    assert config.data.path == str(Path("x").absolute())  # a run finds its images from any folder


def test_places_are_kept_in_full_also_those_that_a_run_goes_on_with(tmp_path, monkeypatch):
    settings = parse_settings(["data.path=im", "data.also=[a, ~/b]", "loss.weights=w.safetensors", "train.init=runs/one"])
    config = load_config("folder", settings)
    assert config.data.also == [str(Path("a").absolute()), str(Path.home() / "b")]
    assert (config.loss.weights, config.train.init) == (str(Path("w.safetensors").absolute()), str(Path("runs/one").absolute()))
    write_config(tmp_path / "config.yaml", config, choose_compute("cpu"))
    monkeypatch.chdir(tmp_path)
    assert load_config("config.yaml") == config
    moved = load_config("config.yaml", parse_settings(["data.path=other"]))
    assert (moved.data.path, moved.data.also) == (str(tmp_path / "other"), config.data.also)


def test_a_section_given_as_a_setting_changes_what_it_names_alone():
    one, other = load_config("folder_small", {"train.steps": 500}), load_config("folder_small", {"train": {"steps": 500}})
    assert one == other != load_config("folder_small")


@pytest.mark.parametrize(("settings", "inside"), [({}, "init: a.json"), ({"prior.init": "a.json"}, "names: []")])
def test_a_prior_to_start_from_is_used_unless_it_is_said_of_what(tmp_path, settings, inside):
    for more, expected in (
        ("", ("given", "given")),
        (", links: given", ("memory", "given")),
        (", keypoints: given", ("given", "random")),
    ):
        (tmp_path / "mine.yaml").write_text(f"prior: {{{inside}{more}}}")
        prior = load_config(tmp_path / "mine.yaml", settings).prior
        assert (prior.keypoints, prior.links) == expected
    said = {"prior.init": "a.json", "prior.keypoints": "memory"}
    (tmp_path / "mine.yaml").write_text("prior: {names: []}")
    assert load_config(tmp_path / "mine.yaml", said).prior.links == "given"
    assert load_config(tmp_path / "mine.yaml", said | {"prior.links": "random"}).prior.keypoints == "memory"


def test_a_resolved_configuration_too_takes_a_prior_and_a_section_of_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path / "config.yaml", load_config("folder_small"), choose_compute("cpu"))
    config = load_config("config.yaml", {"prior.init": "a.json", "data": {"path": "im", "also": ("b",)}})
    assert (config.prior.keypoints, config.prior.links) == ("given", "given")
    assert (config.data.path, config.data.also) == (str(tmp_path / "im"), [str(tmp_path / "b")])


def test_a_folder_may_be_called_by_a_number():
    assert load_config("folder", parse_settings(["data.split=2024"])).data.split == "2024"
    assert load_config("folder", parse_settings(["data.split=0.2"])).data.split == 0.2


def test_a_recipe_cannot_change_what_a_file_sets_already(tmp_path):
    (tmp_path / "shown.yaml").write_text(to_yaml(load_config("folder_small")))
    assert load_config(tmp_path / "shown.yaml", {"recipe": "ppl"}) == load_config("folder_small")
    with pytest.raises(UsageError, match=r"recipe: .*shown\.yaml sets every field that a recipe would"):
        load_config(tmp_path / "shown.yaml", {"recipe": "paper"})
    assert load_config("folder_small", {"recipe": "paper"}).model.encoder == "affine"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.stepz=5", "settings: unknown key train.stepz (did you mean train.steps?)"),
        ("trian.steps=5", "settings: unknown key trian (did you mean train?)"),
        ("step=5", "settings: unknown key step (did you mean train.steps?)"),
        ("keypoint=5", "settings: unknown key keypoint (did you mean model.keypoints or prior.keypoints?)"),
        ("nothing_like_it=5", "settings: unknown key nothing_like_it (known: "),
        ("train.steps=0", "train.steps: "),
        ("train.steps=many", "train.steps: "),
        ("train.learning_rate=.nan", "train.learning_rate"),
        ("train.steps", "write key=value"),
        ("train.steps.x=1", "is not a section"),
        ("model.image_size=50", "multiple of 16"),
        ("reference.cells=4000", "reference.cells"),
        ("data.split=1.5", "between 0 and 1"),
        ("model.keypoints=[1,", "not a value that YAML can read"),
        ("train=5", "train: expected a section of several fields, got 5"),
        ("train.accumulate=7", "settings, with "),
        ("train=", "train: expected a section of several fields, got None"),
        ("name=my run", "name: expected only letters, digits, dots, dashes and underscores, got 'my run'"),
        ("train.batch=big", "train.batch: expected a whole number or 'auto', got 'big'"),
        ("train.flip=7", "train.flip: expected true or false, got 7"),
        ("prior.freeze=[a]", "prior.freeze.0: expected 'keypoints' or 'links', got 'a'"),
    ],
)
def test_a_wrong_override_is_one_line_that_names_it(override, words):
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        load_config("quickstart", parse_settings([override]))
    assert "\n" not in str(caught.value)


def test_a_name_may_begin_as_a_home_folder_that_nobody_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("folder", {"data.path": "~$photos"}).data.path == str(tmp_path / "~$photos")
    with pytest.raises(UsageError, match=r"no configuration '~\$mine'"):
        load_config("~$mine")


def test_an_unknown_configuration_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean quickstart"):
        load_config("quikstart")


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "\udcff", "!!python/object/apply:os.system ['true']"])
def test_a_file_that_is_no_configuration_is_named(tmp_path, content):
    file = tmp_path / "bad.yaml"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=r"bad\.yaml"):
        load_config(str(file))


def test_a_key_as_on_the_command_line_says_how_a_file_has_it(tmp_path):
    (tmp_path / "mine.yaml").write_text("train.steps: 30\n")
    with pytest.raises(UsageError, match=r"unknown key train\.steps \(in a file write train: and, indented below it, steps: "):
        load_config(tmp_path / "mine.yaml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_shown_configuration_is_read_as_any_shell_has_saved_it(tmp_path, encoding):
    shown = load_config("folder_small", {"data.path": str(tmp_path / "Bären")})
    (tmp_path / "mine.yaml").write_bytes(to_yaml(shown).replace("\n", "\r\n").encode(encoding))
    assert load_config(tmp_path / "mine.yaml") == shown


def test_damaged_yaml_says_where(tmp_path):
    (tmp_path / "mine.yaml").write_text("seed: 1\ntrain: {steps: 30\n")
    with pytest.raises(UsageError, match=r"mine\.yaml is not valid YAML: while parsing a flow mapping in line 2, column 8: "):
        load_config(tmp_path / "mine.yaml")


def test_a_file_too_large_says_how_large_it_may_be(tmp_path):
    (tmp_path / "big.yaml").write_text("# " + "x" * (300 << 10))
    with pytest.raises(UsageError, match=r"big\.yaml has 300 KiB; ppl reads up to 256 KiB of such a file"):
        load_config(tmp_path / "big.yaml")


def test_yaml_round_trip(tiny, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(tiny, {"ppl": "0"}))
    assert load_config(str(file)) == tiny
