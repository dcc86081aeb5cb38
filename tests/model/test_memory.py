import copy

import torch

from ppl_cli.model.memory import Memory


def small() -> Memory:
    torch.manual_seed(0)
    return Memory(keypoints=5, banks=3, vectors=4, dimension=16)


def test_quantise_takes_the_nearest_vector_of_each_bank():
    memory = small()
    tokens = torch.randn(7, 3, 16)
    indices, chosen = memory.quantise(tokens)
    distances = (tokens[:, :, None] - memory.vectors[None]).norm(dim=-1)
    assert torch.equal(indices, distances.argmin(-1))
    assert torch.equal(chosen[2, 1], memory.vectors[1, indices[2, 1]])


def test_reading_changes_nothing():
    memory = small()
    before = copy.deepcopy(memory.state_dict())
    memory.train()
    memory.recall(torch.randn(4, 5, 2))
    memory.distil()
    assert all(torch.equal(before[name], tensor) for name, tensor in memory.state_dict().items())


def test_update_follows_the_formula():
    memory = small()
    tokens = torch.randn(6, 3, 16)
    indices, _ = memory.quantise(tokens)
    counts, sums = memory.counts.clone(), memory.sums.clone()
    memory.update(tokens, indices)
    for bank in range(3):
        chosen = torch.nn.functional.one_hot(indices[:, bank], 4).float()
        n = 0.9 * counts[bank] + 0.1 * chosen.sum(0)
        n = (n + 1e-5) / (n.sum() + 4e-5) * n.sum()
        s = 0.9 * sums[bank] + 0.1 * chosen.T @ tokens[:, bank]
        assert torch.allclose(memory.counts[bank], n)
        assert torch.allclose(memory.vectors[bank], s / n[:, None], rtol=1e-4)


def test_gradient_passes_straight_through():
    memory = small()
    pose = torch.randn(2, 5, 2, requires_grad=True)
    memory.recall(pose).keypoints.sum().backward()
    assert pose.grad.abs().sum() > 0
    assert memory.embed.weight.grad.abs().sum() > 0


def test_revived_vectors_are_tokens_of_the_batch_and_used_ones_stay():
    memory = small()
    tokens = torch.randn(6, 3, 16)
    memory.counts.copy_(torch.tensor([[4.0, 4, 1e-6, 1e-6]]).expand(3, 4))
    before = memory.vectors.clone()
    memory.revive(tokens, 0.1)
    assert torch.equal(memory.vectors[:, :2], before[:, :2])
    for bank in range(3):
        for vector in memory.vectors[bank, 2:]:
            assert (tokens[:, bank] == vector).all(-1).any()
    assert (memory.counts[:, 2:] > 0.1 * memory.counts.mean(1, keepdim=True)).all()


def test_perplexity_counts_the_vectors_in_use():
    memory = small()
    memory.counts.copy_(torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]))
    assert torch.allclose(memory.perplexity(), torch.tensor([1.0, 2, 4]))
