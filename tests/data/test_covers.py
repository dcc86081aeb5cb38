import torch

from ppl_cli.data.covers import hide, random_colours, random_covers, random_fills


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


def test_what_is_covered_shows_one_colour_or_another_image_and_the_rest_stays():
    images, covers = torch.rand(400, 3, 16, 16, generator=random()), random_covers(400, 16, random())
    colours = random_colours(400, random())
    hidden = hide(images, covers, colours)
    seen = (covers == 0).expand_as(images)
    assert torch.equal(hidden[seen], images[seen])
    other = colours.isnan().flatten(1).all(1)
    assert 0.15 < other.float().mean() < 0.35
    assert 0.4 < (colours.std(1) == 0).float().mean() < 0.6  # grey
    fills = torch.where(colours.isnan(), images.roll(1, 0).flip(-2), colours)
    assert torch.equal(hidden[~seen], fills[~seen])
    assert fills.abs().max() <= 1
