"""Training that is killed with SIGKILL again and again ends as if it had been left alone."""

import csv
import os

import pytest
from safetensors.torch import load_file

from ppl_cli.config.loading import to_yaml
from tests.training.kills import kill_trainings

KILLS = int(os.environ.get("PPL_KILLS", "30"))  # PPL_KILLS=200 asks for more
SAVE_EVERY = 2
TIMING = ("images_per_second", "peak_memory_gib")


def table(folder) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return [{key: value for key, value in row.items() if key not in TIMING} for row in csv.DictReader(file)]


@pytest.mark.parametrize(("kills", "steps"), [(6, 30), pytest.param(KILLS, 50, marks=pytest.mark.slow)])
@pytest.mark.timeout(120 + 30 * KILLS)
def test_a_training_survives_every_kill(forks, tiny, pictures, tmp_path, kills, steps):
    settings = {"steps": steps, "batch": 2, "log_every": 7, "save_every": SAVE_EVERY}
    data = tiny.data.model_copy(update={"kind": "folder", "path": str(pictures)})
    config = tiny.model_copy(update={"train": tiny.train.model_copy(update=settings), "data": data})
    (tmp_path / "tiny.yaml").write_text(to_yaml(config, {}))
    outcome = kill_trainings(forks, tmp_path / "tiny.yaml", tmp_path, kills, SAVE_EVERY)
    print(f"{outcome.kills} kills, {outcome.inside_a_save} inside a save, {outcome.before_the_first} before the first")
    assert outcome.kills == kills
    assert outcome.inside_a_save >= kills // 6
    assert max(outcome.repeated) <= SAVE_EVERY
    whole = load_file(outcome.whole / "model.safetensors")
    for run in outcome.runs:
        weights = load_file(run / "model.safetensors")
        assert all(weights[name].equal(whole[name]) for name in whole)
        assert (run / "prior.json").read_bytes() == (outcome.whole / "prior.json").read_bytes()
        assert table(run) == table(outcome.whole)
        assert {path.name for path in run.iterdir()} == {path.name for path in outcome.whole.iterdir()}
