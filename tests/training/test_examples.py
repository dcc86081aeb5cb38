import numpy as np
import pytest
from PIL import Image

from ppl_cli.data.figures import drawn_figures, figure
from ppl_cli.training import examples
from ppl_cli.training.examples import save_examples
from ppl_cli.training.run_folder import clear_run


def frames(path):
    import av

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_images_are_the_figures_that_the_model_is_measured_on(tmp_path, tiny):
    save_examples(tmp_path, 3)
    left = sorted((tmp_path / "try").glob("*.png"))
    assert len(left) == examples.IMAGES
    for index, file in enumerate(left):
        own = drawn_figures(tiny.data, "test", 3, examples.SIDE).open_image(index)
        assert np.array_equal(np.asarray(Image.open(file)), np.asarray(own))


def test_the_video_shows_the_moving_figure(tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "FRAMES", 12)
    save_examples(tmp_path, 0)
    shown = frames(tmp_path / "try" / "moving-figure.mp4")
    drawn = [figure(examples.IMAGES, examples.SIDE, 10**6, time / 12)[0] for time in range(12)]
    differences = np.abs(np.stack(shown).astype(int) - np.stack(drawn)).mean((1, 2, 3))
    assert differences.max() < 5


@pytest.mark.parametrize("index", range(3))
def test_a_figure_moves_smoothly_and_ends_where_it_began(index):
    times = np.linspace(0, 1, 151)
    pictures, poses = zip(*(figure(index, 32, 0, time) for time in times), strict=True)
    steps = np.abs(np.diff(poses, axis=0)).max((1, 2))
    assert steps.max() < 0.1
    assert steps.min() > 0
    assert np.allclose(poses[0], poses[-1])
    assert np.ptp(poses, axis=0).max() > 0.3
    assert np.array_equal(pictures[0][0], pictures[75][0])  # the background stays


def test_a_new_run_removes_them_and_nothing_else(tmp_path):
    for others in ([], ["mine.png"]):
        save_examples(tmp_path, 0)
        for name in others:
            (tmp_path / "try" / name).touch()
        clear_run(tmp_path)
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == others
