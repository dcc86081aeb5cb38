import torch

from ppl_cli.data.datasets import open_dataset
from ppl_cli.training.batches import Part, augmentation, batch_indices, generator, make_batch, mask_cells


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


def test_occluded_inputs_are_the_images_with_holes(tiny):
    images = open_dataset(tiny.data, tiny.model.image_size, tiny.seed)
    plain = make_batch(images, 0, tiny, torch.device("cpu"))
    assert torch.equal(plain.inputs, plain.images)
    config = tiny.model_copy(update={"train": tiny.train.model_copy(update={"occlude": 0.5})})
    for step in range(2):
        batch = make_batch(images, step, config, torch.device("cpu"))
        hidden = (batch.inputs == 0).all(1)
        assert not hidden[1::2].any()
        assert 0 < hidden[::2].float().mean() < 0.6
        assert torch.equal(torch.where(hidden[:, None], 0, batch.images), batch.inputs)
    assert torch.equal(plain.images, make_batch(images, 0, config, torch.device("cpu")).images)
    assert torch.equal(plain.references, make_batch(images, 0, config, torch.device("cpu")).references)


def test_recoloured_inputs_keep_their_edges_and_leave_images_and_references_alone(tiny):
    images = open_dataset(tiny.data, tiny.model.image_size, tiny.seed)
    cpu = torch.device("cpu")
    plain = make_batch(images, 0, tiny, cpu)
    batch = make_batch(images, 0, with_train(tiny, colour=0.2), cpu)
    assert torch.equal(plain.images, batch.images)
    assert torch.equal(plain.references, batch.references)
    for before, after in zip(plain.images.flatten(2).flatten(0, 1), batch.inputs.flatten(2).flatten(0, 1), strict=True):
        inside = after.abs() < 1  # a gain and an offset for each channel, cut off at black and white
        assert torch.corrcoef(torch.stack((before, after))[:, inside])[0, 1] > 0.999
    assert ((plain.images - batch.inputs).abs().mean((1, 2, 3)) > 1e-3).all()


def test_rotated_batches_turn_about_the_centre(tiny):
    ring = torch.zeros(8, 1, 33, 33)
    ring[:, :, 16, 28] = 1
    change = augmentation(with_train(tiny, rotate=180, flip=False), Part(0, 8, 8), generator("cpu", 0))
    side = torch.arange(33) - 16
    disc = (side**2 + side[:, None] ** 2) <= 15**2  # beyond it lie mirror images
    turned = change(ring) * disc
    places = [divmod(int(picture.argmax()), 33) for picture in turned]
    assert len(set(places)) > 4
    for row, column in places:
        assert abs(((row - 16) ** 2 + (column - 16) ** 2) ** 0.5 - 12) < 1.5
    still = augmentation(with_train(tiny, rotate=0.001, flip=False), Part(0, 8, 8), generator("cpu", 0))(ring)
    assert (still - ring).abs().max() < 0.01


def test_cell_sizes_take_turns(tiny):
    reference = tiny.reference.model_copy(update={"cells": 8, "vary_cells": True})
    varied = tiny.model_copy(update={"reference": reference})
    assert [mask_cells(varied, step) for step in range(4)] == [8, 4, 16, 8]
    assert {mask_cells(tiny, step) for step in range(4)} == {8}
