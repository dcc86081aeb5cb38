from ppl_cli.data.evenly import choose_evenly


def test_what_is_chosen_reaches_from_the_first_to_the_last():
    assert choose_evenly(range(3), 64) == [0, 1, 2]
    assert choose_evenly(range(1000), 64)[::63] == [0, 999]
    assert choose_evenly([], 64) == []
