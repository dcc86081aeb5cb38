"""Confidence from one look: a share of training images, and none for what was never seen."""

import torch

from ppl_cli.model.calibration import Signs, calibrate, read_signs
from ppl_cli.model.encoder import Estimate

N, C = 4, 6


def found(count: int, seed: int, shift: float = 0.0, sharp: float = 3.0, away: float = 0.1) -> Signs:
    """Keypoints found in `count` images and recalled `away` from there; `shift` of what is seen, in standard deviations."""
    random = torch.Generator().manual_seed(seed)
    mixing = torch.randn(N, C, C, generator=torch.Generator().manual_seed(7))
    seen = (torch.randn(count, N, 1, C, generator=random) @ mixing).squeeze(2)
    keypoints = torch.rand(count, N, 2, generator=random) - 0.5
    attention = (sharp * torch.randn(count, N, 64, generator=random)).softmax(-1).unflatten(-1, (8, 8))
    recalled = keypoints + away * torch.randn(count, N, 2, generator=random)
    return read_signs(Estimate(keypoints, None, attention, seen + shift * mixing.norm(dim=1)), recalled)


def calibration(useful=(True,) * N):
    return calibrate(found(500, 0), torch.tensor(useful))


def test_confidence_is_the_share_of_training_images_that_give_more_doubt():
    confidence, strangeness = calibration().judge(found(500, 0))
    for keypoint in confidence.T:
        assert abs(keypoint.mean() - 0.5) < 0.05
        assert abs((keypoint < 0.2).float().mean() - 0.2) < 0.07
    assert (strangeness <= calibration().limit).float().mean() == 0.99
    held_out, strangeness = calibration().judge(found(500, 1))
    assert abs(held_out.mean() - 0.5) < 0.05
    assert (strangeness > calibration().limit).float().mean() < 0.05


def test_each_sign_lowers_it():
    known = calibration()
    usual = known.judge(found(200, 1))[0]
    for change in ({"shift": 2.0}, {"sharp": 0.2}, {"away": 0.5}):
        assert known.judge(found(200, 1, **change))[0].mean() < usual.mean() - 0.1, change


def test_what_was_never_seen_is_strange():
    known = calibration()
    assert (known.judge(found(100, 2, shift=6.0))[1] > known.limit).all()


def test_an_image_is_judged_by_itself():
    known, signs, pick = calibration(), found(20, 3), [7, 3]
    few = known.judge(Signs(*(sign[pick] for sign in signs)))
    for all_of_them, two in zip(known.judge(signs), few, strict=True):
        torch.testing.assert_close(all_of_them[pick], two)


def test_one_image_is_enough_to_measure_on():
    known = calibrate(found(1, 0), torch.tensor([True] * N))
    assert all(part.isfinite().all() for part in known)
    confidence = known.judge(found(5, 1))[0]
    assert confidence.isfinite().all()
    assert ((confidence >= 0) & (confidence <= 1)).all()


def test_images_without_any_variety_are_not_strange_to_themselves():
    signs = Signs(torch.ones(50, 4, 6), torch.full((50, 4), 0.1), torch.full((50, 4), 0.1))
    calibration = calibrate(signs, torch.ones(4, dtype=torch.bool))
    again = signs._replace(seen=signs.seen + 1e-8 * torch.randn(50, 4, 6, generator=torch.Generator().manual_seed(0)))
    confidence, strangeness = calibration.judge(again)
    assert (strangeness / calibration.limit).max() < 1
    assert confidence.isfinite().all()
