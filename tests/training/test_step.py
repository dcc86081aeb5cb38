import torch

from ppl_cli.data.covers import hide
from ppl_cli.data.ghosts import add_ghosts
from ppl_cli.data.light import change_light
from ppl_cli.data.warp import warp_images
from ppl_cli.device import choose_compute
from ppl_cli.training.batches import Batch, Part
from ppl_cli.training.prepare import prepare_model
from ppl_cli.training.step import TrainingStep, draw_chance, eased


def test_leading_losses_fall_to_their_rest(tiny):
    config = tiny.model_copy(update={"loss": tiny.loss.model_copy(update={"ease_from": 10, "ease_to": 20, "eased": 0.1})})
    assert [round(eased(config, step), 3) for step in (0, 10, 15, 20, 1000)] == [1, 1, 0.55, 0.1, 0.1]
    assert eased(tiny, 10**6) == 1


def test_the_encoder_alone_sees_other_light_and_ghosts(tiny, monkeypatch):
    """What is reconstructed stays as it is; the second look, at the warped image, is disturbed in another way."""
    config = tiny.model_copy(
        update={
            "train": tiny.train.model_copy(update={"light": True, "ghosts": 0.4, "ghosts_mirrored": True}),
            "loss": tiny.loss.model_copy(update={"equivariance": 1.0, "bend": 0.5}),
        }
    )
    size, batch = config.model.image_size, config.train.batch
    images = torch.rand(batch, 3, size, size) * 2 - 1
    model = prepare_model(config, choose_compute("cpu", "fp32"))
    seen, compared, estimate = [], [], model.estimate
    monkeypatch.setattr(model, "estimate", lambda images: seen.append(images) or estimate(images))

    class Loss(torch.nn.Module):
        def forward(self, reconstruction, images):
            compared.append(images)
            return reconstruction.mean()

    step = TrainingStep(model, Loss(), config, choose_compute("cpu", "fp32"))
    chance = draw_chance(config, 5, Part(0, batch, batch), torch.device("cpu"))
    step(Batch(images, images), chance)
    assert torch.equal(compared[0], images)
    first, second = (add_ghosts(change_light(images, chance.light[:, look]), chance.ghosts[:, look]) for look in (0, 1))
    assert torch.equal(seen[0], first)
    assert torch.equal(seen[1], warp_images(second, chance.affine, chance.bends))
    assert (chance.ghosts[:, 0] != chance.ghosts[:, 1]).all()
    again = draw_chance(config, 5, Part(1, batch - 1, batch), torch.device("cpu"))  # the same however a batch is cut
    assert torch.equal(again.light, chance.light[1:])
    assert torch.equal(again.ghosts, chance.ghosts[1:])


def turning(tiny):
    loss = {
        "equivariance": 1.0,
        "separation": 1.0,
        "ease_from": 10,
        "ease_to": 20,
        "eased": 0.1,
        "shorten_from": 45,
        "turn_from": 30,
        "turn_to": 40,
    }
    return tiny.with_fields("loss", **loss).with_fields("train", rotate=True)


def test_from_a_step_on_the_second_look_is_turned_by_any_angle_and_the_leading_losses_lead_once_more(tiny):
    config, part, cpu = turning(tiny), Part(0, 8, 8), torch.device("cpu")

    def turned(steps, config):
        affine = torch.cat([draw_chance(config, step, part, cpu).affine for step in steps])
        return (affine[:, 0, 0] < 0).float().mean()  # by more than a quarter

    assert turned(range(10, 30), config) == 0 == turned(range(30, 50), config.with_fields("train", rotate="auto"))
    assert turned(range(30, 50), config) > 0.3
    chances = [draw_chance(config, step, part, cpu) for step in (0, 20, 30, 40, 45, 50, 1000)]
    assert [round(float(chance.lead), 3) for chance in chances] == [1, 0.1, 1, 1, 0.55, 0.1, 0.1]
    assert [chance.alone is None for chance in chances] == [True, True, False, False, False, False, False]
    led_no_more = draw_chance(config.with_fields("loss", eased=0.0), 50, part, cpu)
    assert led_no_more.lead == 0
    assert led_no_more.affine is not None  # turned looks keep their weight
    assert [round(float(chance.anchor), 3) for chance in chances] == [0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
    assert [float(chance.shortness) for chance in chances] == [0, 0, 0, 0, 1, 1, 1]


def test_half_of_the_turned_looks_see_the_object_before_a_background_that_is_not_turned(tiny, monkeypatch):
    """Else the background, which turns with it, tells the encoder which way the object heads."""
    config = turning(tiny)
    chances = [draw_chance(config, step, Part(0, 8, 8), torch.device("cpu")) for step in range(30, 80)]
    assert 0.4 < torch.cat([chance.alone for chance in chances]).float().mean() < 0.6
    again = draw_chance(config, 30, Part(2, 4, 8), torch.device("cpu"))
    assert torch.equal(again.alone, chances[0].alone[2:6])
    model = prepare_model(config, choose_compute("cpu", "fp32"))
    step, size = TrainingStep(model, torch.nn.L1Loss(), config, choose_compute("cpu", "fp32")), config.model.image_size
    images, keypoints = torch.rand(8, 3, size, size), torch.rand(8, 5, 2) / 10 + 0.2
    seen = step.second_look(images, keypoints, chances[0])
    warped = warp_images(images, chances[0].affine)
    whole = ~chances[0].alone
    assert torch.equal(seen[whole], warped[whole])
    corner = seen[chances[0].alone][..., 0, 0]  # no disc reaches it
    torch.testing.assert_close(corner, images.mean(0)[:, 0, 0].expand_as(corner))
    assert not torch.equal(seen[chances[0].alone], images.mean(0).expand_as(images)[chances[0].alone])


def test_the_first_look_learns_nothing_from_the_turned_one(tiny, monkeypatch):
    """Else keypoints would meet where both looks can find them: in the middle."""
    config = turning(tiny)
    batch, size = config.train.batch, config.model.image_size
    model = prepare_model(config, choose_compute("cpu", "fp32"))
    looks, estimate = [], model.estimate

    def look(images):
        found = estimate(images)
        found.keypoints.retain_grad()
        looks.append(found.keypoints)
        return found

    monkeypatch.setattr(model, "estimate", look)
    step = TrainingStep(model, torch.nn.L1Loss(), config, choose_compute("cpu", "fp32"))
    images = torch.rand(batch, 3, size, size)
    for at, learns in ((20, True), (30, False)):
        looks.clear()
        outcome = step(Batch(images, images), draw_chance(config, at, Part(0, batch, batch), torch.device("cpu")))
        outcome.losses["equivariance"].backward()
        first, second = looks
        assert (first.grad is not None and bool(first.grad.any())) is learns
        assert second.grad.any()


def test_something_hides_the_object_from_some_of_the_turned_looks(tiny):
    config = turning(tiny).with_fields("train", cover=0.5)
    before, *chances = [draw_chance(config, step, Part(0, 8, 8), torch.device("cpu")) for step in range(29, 80)]
    assert before.covers is None
    covered = torch.cat([chance.covers for chance in chances]).amax((1, 2, 3))
    assert 0.3 < covered.mean() < 0.5  # a fifth of covers is none
    again = draw_chance(config, 30, Part(2, 4, 8), torch.device("cpu"))
    assert torch.equal(again.covers, chances[0].covers[2:6])
    torch.testing.assert_close(again.colours, chances[0].colours[2:6], equal_nan=True)
    model = prepare_model(config, choose_compute("cpu", "fp32"))
    step, size = TrainingStep(model, torch.nn.L1Loss(), config, choose_compute("cpu", "fp32")), config.model.image_size
    images, keypoints = torch.rand(8, 3, size, size), torch.rand(8, 5, 2)
    shown = (chances[0]._replace(covers=covers) for covers in (chances[0].covers, None))
    hidden, whole = (step.second_look(images, keypoints, chance) for chance in shown)
    assert torch.equal(hidden, hide(whole, chances[0].covers, chances[0].colours))


def test_relevance_moves_keypoints_and_lets_decoder_and_links_be(tiny):
    config = turning(tiny).with_fields("loss", relevance=0.2)
    model, (batch, size) = prepare_model(config, choose_compute("cpu", "fp32")), (config.train.batch, config.model.image_size)
    step, images = TrainingStep(model, torch.nn.L1Loss(), config, choose_compute("cpu", "fp32")), torch.rand(4, 3, size, size)
    drawn, reconstruct = [], model.reconstruct
    model.reconstruct = lambda reference, skeleton: drawn.append(skeleton.detach()) or reconstruct(reference, skeleton)
    assert step.find_relevance(Batch(images, images), model(images, images)).shape == (2, size, size)
    assert torch.equal(drawn[1], drawn[0][[1, 0]])  # each with the pose of the other
    step.find_relevance = lambda *_: torch.eye(size).expand(2, size, size)  # it matters along a diagonal
    images = torch.rand(batch, 3, size, size)
    before, after = (
        step(Batch(images, images), draw_chance(config, at, Part(0, batch, batch), torch.device("cpu"))).losses["relevance"]
        for at in (0, 20)
    )
    assert before == 0 < after
    after.backward()
    changed = {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert changed == {"encoder"}
