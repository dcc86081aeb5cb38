import torch

from ppl_cli.data.units import to_unit
from ppl_cli.training.batches import batch_indices, generator, make_batch
from tests.training_images import open_dataset


def with_train(config, **settings):
    return config.model_copy(update={"train": config.train.model_copy(update=settings)})


def test_every_pass_shows_every_image_once():
    rows = torch.cat([batch_indices(step, 4, 10, seed=0) for step in range(10)])
    for number in range(4):
        assert sorted(rows[number * 10 : number * 10 + 10].tolist()) == list(range(10))
    assert rows[:10].tolist() != rows[10:20].tolist()


def test_fewer_images_than_a_batch():
    rows = batch_indices(3, 8, 3, seed=0)
    assert len(rows) == 8
    assert set(rows.tolist()) == {0, 1, 2}


def test_batches_depend_on_seed_and_step_alone(tiny):
    images = open_dataset(tiny.data, tiny.model.image_size, tiny.seed)
    cpu = torch.device("cpu")
    first, again = make_batch(images, 5, tiny, cpu), make_batch(images, 5, tiny, cpu)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.references, again.references)
    other = make_batch(images, 5, tiny.model_copy(update={"seed": 1}), cpu)
    assert not torch.equal(first.references, other.references)


def test_streams_of_different_keys_differ():
    values = {
        torch.rand(1, generator=generator("cpu", *key)).item() for key in [(0, "a", 1), (0, "a", 2), (0, "b", 1), (1, "a", 1)]
    }
    assert len(values) == 4


def test_references_are_the_images_where_kept_and_grey_elsewhere(tiny):
    images = open_dataset(tiny.data, tiny.model.image_size, tiny.seed)
    batch = make_batch(images, 0, tiny, torch.device("cpu"))
    hidden = (batch.references == 0).all(1, keepdim=True)
    assert 0.6 < hidden.float().mean() < 1
    assert torch.equal(torch.where(hidden, 0, batch.images), batch.references)


def test_video_references_are_other_frames_flipped_alike(tiny, tmp_path):
    import numpy as np
    from PIL import Image

    for frame in range(6):
        pixels = np.zeros((32, 32, 3), np.uint8)
        pixels[:, 16:] = 40 * frame + 20  # the right half is bright: shows whether a picture was flipped
        Image.fromarray(pixels).save(tmp_path / f"{frame}.png")
    config = tiny.model_copy(
        update={
            "data": tiny.data.model_copy(update={"kind": "video_frames", "path": str(tmp_path)}),
            "reference": tiny.reference.model_copy(update={"kind": "video"}),
            "train": tiny.train.model_copy(update={"flip": True, "batch": 16}),
        }
    )
    images = open_dataset(config.data, 32, 0)
    batch = make_batch(images, 0, config, torch.device("cpu"))
    flipped = batch.images[:, 0, 0, 0] > batch.images[:, 0, 0, -1]
    assert torch.equal(flipped, batch.references[:, 0, 0, 0] > batch.references[:, 0, 0, -1])
    assert flipped.any()
    assert not flipped.all()
    assert (batch.images.amax((1, 2, 3)) != batch.references.amax((1, 2, 3))).all()


def test_warped_batches_show_other_pixels_of_the_same_images(tiny):
    images = open_dataset(tiny.data, tiny.model.image_size, tiny.seed)
    cpu = torch.device("cpu")
    plain = make_batch(images, 0, tiny, cpu).images
    changes = []
    for warp in (0.001, 0.1, 1.0):
        config = tiny.model_copy(update={"train": tiny.train.model_copy(update={"warp": warp})})
        warped = make_batch(images, 0, config, cpu).images
        changes.append((warped - plain).abs().mean().item())
        assert torch.equal(warped, make_batch(images, 0, config, cpu).images)
    assert changes[0] < 0.01 < changes[1] < 0.5 * changes[2]


def test_images_that_were_turned_to_head_along_x_still_do_when_flipped(tiny):
    images, config = open_dataset(tiny.data, tiny.model.image_size, tiny.seed), with_train(tiny, flip=True, batch=16)
    before = images.fetch(torch.arange(len(images))).clone()
    images.turn([0] * len(images))
    assert torch.equal(images.fetch(torch.arange(len(images))), before)
    shown = make_batch(images, 0, config, torch.device("cpu")).images
    chosen = to_unit(images.fetch(batch_indices(0, 16, len(images), config.seed)))
    flipped = (shown == chosen.flip(-2)).flatten(1).all(1)
    assert torch.equal(flipped, ~(shown == chosen).flatten(1).all(1))
    assert flipped.any()
    assert not flipped.all()
