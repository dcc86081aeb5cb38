"""The table of losses: that of a run begun before ppl 0.2 goes on."""

import pytest
import torch

from ppl_cli.errors import UsageError
from ppl_cli.training.metrics import ADDED, COLUMNS, LOSSES, read_metrics
from ppl_cli.training.progress import pad_window


@pytest.mark.parametrize("missing", [ADDED, ADDED[1:], ADDED[2:]])
def test_rows_and_windows_of_before_the_added_losses_have_zeros_there(missing, tmp_path):
    before = [column for column in COLUMNS if column not in missing]
    row = {column: number for number, column in enumerate(before, 1)}
    (tmp_path / "metrics.csv").write_text(",".join(before) + "\n" + ",".join(map(str, row.values())) + "\n")
    assert read_metrics(tmp_path / "metrics.csv") == [{column: row.get(column, 0) for column in COLUMNS}]
    losses = len(LOSSES) - len(missing)
    window = torch.arange(1.0, 2 + losses).repeat(2, 1)  # the losses of before, and the spread
    padded = pad_window(window)
    assert torch.equal(pad_window(padded), padded)
    assert padded[0].tolist() == [*range(1, losses + 1), *[0] * len(missing), losses + 1]


def test_a_table_of_other_columns_is_refused(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,loss\n1,2\n")
    with pytest.raises(UsageError, match="other columns"):
        read_metrics(tmp_path / "metrics.csv")
