import numpy as np
import pytest
import torch

from ppl_cli.data.occlusion import GRID, LEVELS, Occlusion, parse_occlusions, visible_pixels
from ppl_cli.errors import UsageError


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
def test_random_hides_exactly_its_share_of_patches(share):
    hidden = Occlusion("random", share).hidden(5, seed=0)
    assert hidden.shape == (GRID, GRID)
    assert hidden.sum() == round(share * GRID * GRID)


def test_holes_depend_on_seed_and_image_alone_and_grow_with_the_level():
    hidden = Occlusion("random", 0.3).hidden(4, 7)
    assert np.array_equal(hidden, Occlusion("random", 0.3).hidden(4, 7))
    assert not np.array_equal(hidden, Occlusion("random", 0.3).hidden(5, 7))
    assert not np.array_equal(hidden, Occlusion("random", 0.3).hidden(4, 8))
    assert (Occlusion("random", 0.1).hidden(4, 7) <= hidden).all()


@pytest.mark.parametrize("side", [1, 4, 5, 12, 32])
def test_center_hides_a_square_in_the_middle(side):
    hidden = Occlusion("center", side).hidden(1, 0)
    rows = np.flatnonzero(hidden.any(1))
    assert hidden.sum() == side * side
    assert abs((rows[0] + rows[-1]) / 2 - (GRID - 1) / 2) <= 0.5
    assert np.array_equal(hidden, hidden.T)


@pytest.mark.parametrize("size", [32, 48, 64, 128])
def test_patches_become_pixels(size):
    hidden = np.stack([Occlusion("random", 0.2).hidden(index, 0) for index in range(3)])
    visible = visible_pixels(hidden, size)
    assert visible.shape == (3, 1, size, size)
    assert set(visible.unique().tolist()) == {0.0, 1.0}
    assert abs(float(visible.mean()) - 0.8) < 0.03
    if size % GRID == 0:
        cells = visible.reshape(3, GRID, size // GRID, GRID, size // GRID)
        assert torch.equal(cells.amax((2, 4)), cells.amin((2, 4)))
        assert np.array_equal(cells[:, :, 0, :, 0].numpy() == 0, hidden)


def test_parsing():
    assert [o.label for o in parse_occlusions(["random=0.1,0.2", "center=4"])] == ["random 0.1", "random 0.2", "center 4"]
    assert [o.level for o in parse_occlusions(["random,center"])] == [*LEVELS["random"], *LEVELS["center"]]
    for text in ("rand=0.1", "random=2", "random=x", "center=0.5", "center=40", "random=nan", "center="):
        with pytest.raises(UsageError, match="--occlusion"):
            parse_occlusions([text])
