import torch

from ppl_cli.data.covers import random_covers, random_fills


def random() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_covers_are_of_all_kinds_and_a_fifth_of_the_images_stays_whole():
    covers = random_covers(1000, 32, random())
    assert covers.shape == (1000, 1, 32, 32)
    assert set(covers.unique().tolist()) == {0, 1}
    shares = covers.mean((1, 2, 3))
    assert 0.15 < (shares == 0).float().mean() < 0.25
    assert 0.1 < shares.mean() < 0.25
    steps = (covers.diff(dim=-1) != 0).float().mean((1, 2, 3))  # from covered to not: many with cells, few with blobs
    assert (steps > 0.2).float().mean() > 0.05
    assert ((steps > 0) & (steps < 0.05)).float().mean() > 0.2
    assert torch.equal(covers, random_covers(1000, 32, random()))


def test_fills_are_colours_within_range_that_differ_from_the_images():
    images = torch.rand(400, 3, 32, 32, generator=random()) * 0.2  # nearly grey
    fills = random_fills(images, random())
    assert fills.shape == images.shape
    assert fills.abs().max() <= 1
    plain = fills.flatten(2).std(-1).amax(1) < 1e-5
    assert 0.25 < plain.float().mean() < 0.5  # three of eight kinds are one colour
    assert ((fills - images).abs().mean((1, 2, 3)) > 0.2).float().mean() > 0.6
    assert torch.equal(fills, random_fills(images, random()))
