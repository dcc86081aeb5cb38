"""Pictures of an evaluation."""

import numpy as np
from matplotlib.figure import Figure

from ppl_cli.drawing.evaluation import save_distribution


def test_every_model_has_its_place_in_the_legend(tmp_path, monkeypatch):
    """Also where its folder is called _mine, which matplotlib would leave out, or $5$, which it would set as a formula."""
    saved, figures = Figure.savefig, []
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: figures.append(self) or saved(self, *a, **k))
    errors = np.random.default_rng(0).random((7, 4))
    save_distribution(tmp_path / "distribution.png", {"_mine": errors, "b": errors, "$5$": errors}, errors, "ridge")
    texts = [text.get_text().strip() for text in figures[0].axes[0].get_legend().get_texts()]
    assert texts == ["_mine", "b", r"\$5\$", "mean pose"]
    assert (tmp_path / "distribution.png").stat().st_size > 5000
