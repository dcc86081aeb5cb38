from ppl_cli.training.step import eased


def test_leading_losses_fall_to_their_rest(tiny):
    config = tiny.model_copy(update={"loss": tiny.loss.model_copy(update={"ease_from": 10, "ease_to": 20, "eased": 0.1})})
    assert [round(eased(config, step), 3) for step in (0, 10, 15, 20, 1000)] == [1, 1, 0.55, 0.1, 0.1]
    assert eased(tiny, 10**6) == 1
