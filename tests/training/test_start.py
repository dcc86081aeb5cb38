"""What a training may start from."""

from ppl_cli.checkpoints.model_file import load_model
from ppl_cli.prior.prior import load_prior
from ppl_cli.training.start import read_prior


def test_a_run_folder_stands_for_the_prior_in_it(trained_run):
    config = load_model(trained_run).config
    given = config.with_fields("prior", init=str(trained_run), keypoints="given", links="given")
    assert read_prior(given) == load_prior(trained_run / "prior.json")
    assert read_prior(config) is None
