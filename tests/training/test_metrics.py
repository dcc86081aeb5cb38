"""The table of losses: that of a run begun before there was an anchor loss goes on."""

import torch

from ppl_cli.training.metrics import COLUMNS, LOSSES, read_metrics
from ppl_cli.training.progress import pad_window


def test_rows_and_windows_of_before_the_anchor_loss_have_a_zero_there(tmp_path):
    before = [column for column in COLUMNS if column != "anchor"]
    row = {column: number for number, column in enumerate(before, 1)}
    (tmp_path / "metrics.csv").write_text(",".join(before) + "\n" + ",".join(map(str, row.values())) + "\n")
    assert read_metrics(tmp_path / "metrics.csv") == [{column: row.get(column, 0) for column in COLUMNS}]
    window = torch.arange(1.0, 1 + len(LOSSES)).repeat(2, 1)  # the losses of before, and the spread
    padded = pad_window(window)
    assert torch.equal(pad_window(padded), padded)
    losses = dict(zip(LOSSES, padded[0].tolist(), strict=False))
    assert losses == {"anchor": 0, **{name: losses[name] for name in LOSSES if name != "anchor"}}
    assert padded[0, -1] == len(LOSSES)
