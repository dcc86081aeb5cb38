"""Prototypes and banks: medoids against trying all of them, bank movements on a memory made by hand."""

from itertools import combinations

import numpy as np
import pytest
import torch

from ppl_cli.prior.prototypes import (
    Recalled,
    choose_prototypes,
    decode_tokens,
    describe_banks,
    k_medoids,
    learned_prior,
    pose_distances,
)
from tests.conftest import lively_model

RNG = np.random.default_rng(0)


def test_k_medoids_finds_clear_groups_and_their_middles():
    centres = np.array([[0, 0], [5, 5], [-5, 5]])
    points = np.concatenate([centre + RNG.normal(size=(20, 2)) * 0.3 for centre in centres])[:, None]
    medoids, nearest = k_medoids(pose_distances(points, points), 3)
    assert sorted(m // 20 for m in medoids) == [0, 1, 2]
    assert all(len(set(nearest[k * 20 : k * 20 + 20])) == 1 for k in range(3))


def test_k_medoids_is_near_the_best_of_all_choices():
    points = RNG.normal(size=(14, 3, 2))
    distances = pose_distances(points, points)
    best = min(distances[list(chosen)].min(0).sum() for chosen in combinations(range(14), 3))
    medoids, nearest = k_medoids(distances, 3)
    assert distances[medoids].min(0).sum() <= 1.1 * best
    assert np.array_equal(nearest, distances[medoids].argmin(0))


def test_fewer_poses_than_prototypes():
    poses = np.repeat(RNG.normal(size=(2, 3, 2)), 5, 0)
    prototypes = choose_prototypes(Recalled(np.repeat([[0, 1], [1, 0]], 5, 0), poses), 6)
    assert [prototype.frequency for prototype in prototypes] == [0.5, 0.5]
    assert {tuple(prototype.tokens) for prototype in prototypes} == {(0, 1), (1, 0)}
    assert choose_prototypes(Recalled(np.zeros((0, 2), int), np.zeros((0, 3, 2))), 6) == []


def test_frequencies_count_the_nearest_poses_most_frequent_first():
    poses = np.concatenate([np.zeros((6, 2, 2)), np.ones((3, 2, 2)), np.full((1, 2, 2), 5.0)])
    found = poses + np.linspace(0.3, 0.03, 10)[:, None, None]  # later images were found nearer to what is recalled
    found[9] = 7.0
    prototypes = choose_prototypes(Recalled(np.arange(10)[:, None], poses, [f"{i}.png" for i in range(10)], found), 3)
    assert [prototype.frequency for prototype in prototypes] == pytest.approx([0.6, 0.3, 0.1])
    assert [prototype.nearest_image for prototype in prototypes] == ["5.png", "8.png", "9.png"]


@pytest.fixture
def model(tiny):
    return lively_model(tiny)


def test_tokens_decode_to_what_recall_gives(model):
    keypoints = torch.randn(6, 5, 2)
    with torch.no_grad():
        recall = model.recall(keypoints)
    assert np.allclose(decode_tokens(model, recall.indices.numpy()), recall.keypoints.numpy(), atol=1e-5)


def test_banks_say_how_they_are_used_and_what_they_move(model):
    tokens = np.array([[0, 2, 1]] * 6 + [[0, 3, 1]] * 2)  # only bank 1 uses two vectors
    banks = describe_banks(model, tokens)
    assert banks[1].use == [0, 0, 0.75, 0.25]
    assert [bank.perplexity for bank in banks][::2] == [1, 1]
    assert max(banks[0].moves) < 1e-5
    poses = decode_tokens(model, np.array([[0, 2, 1], [0, 3, 1]]))
    assert np.allclose(banks[1].moves, 0.25 * np.linalg.norm(poses[1] - poses[0], axis=-1), atol=1e-6)
    assert max(banks[1].moves) > 1e-3


def test_a_keypoint_without_a_strong_link_is_marked_as_idle(model):
    links = torch.full((5, 5), 0.2)
    links[0, 1] = links[2, 3] = 1.0
    model.start_from(None, links)
    assert learned_prior(model).useful.tolist() == [True, True, True, True, False]
