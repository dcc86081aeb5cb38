import numpy as np
import pytest
import yaml

from ppl_cli.cli.train import parse_settings
from ppl_cli.config.loading import load_config, parse_config, shipped_configs, to_yaml
from ppl_cli.config.recipes import RECIPES, line_thickness
from ppl_cli.config.sections import Config
from ppl_cli.errors import UsageError

SHIPPED = sorted(shipped_configs())


def test_own_images_are_learned_with_ours_and_the_papers_data_sets_say_which():
    for name in SHIPPED:
        stated = yaml.safe_load(shipped_configs()[name].read_text()).get("recipe")
        ours = name in ("quickstart", "folder", "folder_small")
        assert stated in ((None, "ppl") if ours else ("paper", "reference")), name
        assert load_config(name).recipe == (stated or "ppl")


def test_ppl_leads_the_keypoints_at_first_and_draws_links_that_can_be_seen():
    config = load_config("folder")
    assert config.loss.equivariance > 0
    assert config.loss.separation > 0
    assert 0 < config.loss.ease_from < config.loss.ease_to < config.train.steps / 2
    assert config.loss.shortness > 0
    assert config.loss.ease_to < config.loss.shorten_from == config.train.steps // 2
    assert config.memory.revive > 0
    assert config.model.links_start > -1
    assert config.train.ema > 0.99
    assert config.train.ghosts > 0
    assert load_config("quickstart").train.ghosts == 0  # each figure has a background of its own


@pytest.mark.parametrize("name", ["quickstart", "folder", "folder_small"])
@pytest.mark.parametrize("recipe", ["paper", "reference"])
def test_faithful_recipes_have_nothing_of_ours(name, recipe):
    config = load_config(name, {"recipe": recipe})
    off = [config.loss.equivariance, config.loss.separation, config.memory.revive, config.train.jitter, config.train.ema]
    assert [*off, config.train.ghosts, config.loss.anchor, config.loss.shortness, config.loss.bend, config.train.cover] == [
        0
    ] * 10
    assert config.loss.relevance == 0
    assert (config.model.links_start, config.train.link_rate) == (-4, 1)
    assert (config.reference.cells, config.reference.missing) == (16, 0.8)
    assert config.model.thickness == 5e-4
    assert config.model.encoder == "affine"
    assert config.loss.kind == ("multiscale" if name == "quickstart" else "perceptual")  # quickstart's file says so
    assert config.train.warp == 0


@pytest.mark.parametrize("steps", [1e3, "1000", np.int64(1000)])
def test_numbers_that_validation_takes_are_those_of_the_recipe(steps):
    assert load_config("folder_small", {"train.steps": steps}) == load_config("folder_small", {"train.steps": 1000})
    assert load_config("folder", {"model.image_size": 64.0}) == load_config("folder", {"model.image_size": 64})


def test_small_images_need_no_download_unless_weights_are_given():
    assert load_config("folder_small").loss.kind == "multiscale"
    assert load_config("folder_small", {"loss.weights": "vgg.safetensors"}).loss.kind == "perceptual"
    assert load_config("folder").loss.kind == "perceptual"
    assert load_config("folder").model.encoder == "fine"


def test_paper_and_reference_differ_where_the_method_says():
    paper, reference = (load_config("folder", {"recipe": name}) for name in ("paper", "reference"))
    assert (paper.loss.network, paper.loss.links, paper.train.learning_rate) == ("vgg19", 1, 1e-3)
    assert (reference.loss.network, reference.loss.links, reference.train.learning_rate) == ("vgg16", 0, 1e-4)
    assert paper.train.steps == reference.train.steps == 20_000
    video = {"data.kind": "video_frames"}
    kinds = [load_config("folder", {"recipe": name, **video}).reference.kind for name in ("ppl", "paper", "reference")]
    assert kinds == ["video", "video", "mask"]


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_what_is_set_comes_first(recipe):
    config = load_config("folder", {"recipe": recipe, "train.jitter": 0.2, "model.thickness": 0.1, "loss.ease_to": 7})
    assert (config.train.jitter, config.model.thickness, config.loss.ease_to) == (0.2, 0.1, 7)
    assert load_config("hands").reference.missing == 0.9


def test_links_are_as_wide_at_every_image_size():
    for size in (48, 64, 128, 256):
        config = load_config("folder", {"model.image_size": size})
        assert config.model.thickness == line_thickness(size)
        assert config.model.thickness / (2 / (size - 1)) ** 2 == pytest.approx(3.3, rel=0.03)
    by_hand = load_config("folder", {"recipe": "paper", "model.thickness": "auto", "model.image_size": 64})
    assert by_hand.model.thickness == line_thickness(64)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_configuration_of_a_run_has_every_field_and_reloads_to_the_same(name, tmp_path):
    config = load_config(name)
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(config, {"ppl": "0"}))
    assert load_config(str(file)) == config
    assert parse_config(config.model_dump(), "header") == config
    assert load_config(str(file), {"recipe": config.recipe}) == config
    with pytest.raises(UsageError, match="sets every field"):
        load_config(str(file), {"recipe": "ppl" if config.recipe == "paper" else "paper"})


def test_runs_from_before_recipes_keep_what_they_had(tmp_path):
    """Fields that did not exist then are off, whatever the default recipe says now."""
    old = load_config("folder_small").model_dump()
    del old["recipe"], old["train"]["ema"]
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({**old, "written_by": {"ppl": "0.1.0"}}))
    for config in (load_config(str(file)), parse_config(old, "header")):
        assert config.recipe == "none"
        assert config.train.ema == 0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("recipe=papr", "recipe: "),
        ("recipe=[1]", "recipe: "),
        ("model=5", "model: "),
        ("model.image_size=x", "model.image_size: "),
        ("train.steps=-4", "train.steps: "),
        ("model.thickness=thick", "model.thickness: "),
    ],
)
def test_wrong_values_are_still_one_line(override, words):
    with pytest.raises(UsageError, match=words) as caught:
        load_config("folder", parse_settings([override]))
    assert "\n" not in str(caught.value)


def test_an_empty_section_is_filled_in(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\ntrain:\n")
    assert load_config(str(file)).train.jitter == load_config("folder").train.jitter
    assert Config().train.jitter == 0
