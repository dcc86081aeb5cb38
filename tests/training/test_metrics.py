"""The table of losses: that of a run begun before ppl 0.2 goes on."""

import torch

from ppl_cli.training.metrics import ADDED, BEFORE, COLUMNS, read_metrics
from ppl_cli.training.progress import pad_window


def test_rows_and_windows_of_before_the_added_losses_have_zeros_there(tmp_path):
    before = [column for column in COLUMNS if column not in ADDED]
    row = {column: number for number, column in enumerate(before, 1)}
    (tmp_path / "metrics.csv").write_text(",".join(before) + "\n" + ",".join(map(str, row.values())) + "\n")
    assert read_metrics(tmp_path / "metrics.csv") == [{column: row.get(column, 0) for column in COLUMNS}]
    window = torch.arange(1.0, 2 + len(BEFORE)).repeat(2, 1)  # the losses of before, and the spread
    padded = pad_window(window)
    assert torch.equal(pad_window(padded), padded)
    assert dict(zip(BEFORE, padded[0].tolist(), strict=False)) == {name: i for i, name in enumerate(BEFORE, 1)}
    assert padded[0, len(BEFORE) :].tolist() == [0] * len(ADDED) + [len(BEFORE) + 1]
