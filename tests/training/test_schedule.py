import pytest

from ppl_cli.config.sections import Config
from ppl_cli.training import loop, schedule


def config(**sections) -> Config:
    return Config.model_validate(sections)


def test_constant_by_default():
    plain = config(train={"learning_rate": 1e-3, "link_rate": 0.5})
    assert {schedule.learning_rates(plain, step) for step in (0, 7, 19_999)} == {(1e-3, 5e-4)}


def test_warmup_rises_in_a_line_and_cosine_falls_to_nothing():
    both = config(train={"learning_rate": 1.0, "warmup": 9, "schedule": "cosine", "steps": 1000})
    rates = [schedule.learning_rates(both, step)[0] for step in range(1001)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[500] == pytest.approx(0.5)
    assert rates[1000] == pytest.approx(0, abs=1e-12)


def test_groups_of_the_optimiser_get_their_rates(tiny):
    from ppl_cli.checkpoints.shapes import build_model

    chosen = tiny.model_copy(update={"train": tiny.train.model_copy(update={"warmup": 3, "link_rate": 0.1})})
    model = build_model(chosen)
    optimiser = loop.make_optimiser(model, chosen)
    schedule.set_learning_rates(optimiser, chosen, 1)
    network, links = optimiser.param_groups
    assert network["lr"] == pytest.approx(0.5 * chosen.train.learning_rate)
    assert links["lr"] == pytest.approx(0.1 * network["lr"])
    assert links["params"] == [model.raw_links]


def test_hidden_share_goes_from_its_start_to_its_rest():
    eased = config(reference={"missing": 0.9, "missing_start": 0.5, "missing_until": 100})
    assert [round(schedule.missing_share(eased, step), 3) for step in (0, 50, 100, 1000)] == [0.5, 0.7, 0.9, 0.9]
    assert schedule.missing_share(config(), 3) == 0.8
