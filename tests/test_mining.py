"""Mining against brute-force enumeration."""

import pytest
import torch

from sksiamese.mining import (
    MINING,
    pair_masks,
    pair_weights,
    pairwise_distances,
    semihard_negatives,
)

BATCHES = {
    "mixed": [0, 1, 2, 0, 1, 2, 0, 0],
    "imbalanced": [0, 0, 0, 0, 0, 0, 0, 1, 1],
    "one_positive_pair": [0, 0, 1, 2, 3],
    "one_class": [4, 4, 4],
    "all_different": [3, 1, 2],
    "one_sample": [0],
}


def random_distances(n, seed=0):
    torch.manual_seed(seed)
    return pairwise_distances(torch.randn(n, 3, dtype=torch.float64))


def semihard_by_search(distances, labels, anchor, positive):
    row = distances[anchor].tolist()
    others = [j for j in range(len(labels)) if labels[j] != labels[anchor]]
    farther = [j for j in others if row[j] > row[positive]]
    if farther:
        return min(farther, key=row.__getitem__)
    return max(others, key=row.__getitem__)


def pairs_by_search(distances, labels, mining):
    """List the ordered pairs that count, each as often as it does."""
    n = len(labels)
    positives, negatives = [], []
    for a in range(n):
        row = distances[a].tolist()
        same = [j for j in range(n) if j != a and labels[j] == labels[a]]
        other = [j for j in range(n) if labels[j] != labels[a]]
        if mining == "hard":
            same = [max(same, key=row.__getitem__)] if same else []
            other = [min(other, key=row.__getitem__)] if other else []
        elif mining == "semihard" and other:
            other = [semihard_by_search(distances, labels, a, p) for p in same]
        positives += [(a, p) for p in same]
        negatives += [(a, j) for j in other]
    return positives, negatives


def weights_by_search(pairs, n):
    weights = torch.zeros(n, n, dtype=torch.float64)
    for a, b in pairs:
        weights[a, b] += 1 / len(pairs)
    return weights


@pytest.mark.parametrize("squared", [False, True])
def test_pairwise_distances_match_loop(squared):
    torch.manual_seed(0)
    points = torch.randn(6, 4, dtype=torch.float64)
    distances = pairwise_distances(points, squared=squared)
    for i in range(6):
        for j in range(6):
            square = sum(
                (a - b) ** 2 for a, b in zip(points[i], points[j], strict=True)
            )
            expected = max(square.item(), 1e-12) ** (1 if squared else 0.5)
            assert distances[i, j].item() == pytest.approx(expected, abs=1e-12)


def test_pairwise_distances_float32_stay_close_to_float64():
    torch.manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(50, 64))
    exact = torch.cdist(points.double(), points.double())
    found = pairwise_distances(points).double()
    off = ~torch.eye(50, dtype=torch.bool)
    torch.testing.assert_close(found[off], exact[off], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("squared", [False, True])
def test_pairwise_distances_coinciding_pass_no_gradient(squared):
    points = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    distances = pairwise_distances(points, squared=squared)
    expected = 1e-12 if squared else 1e-6
    assert distances.detach().numpy() == pytest.approx(expected)
    distances.sum().backward()
    assert points.grad.abs().max() == 0


@pytest.mark.parametrize("labels", BATCHES.values(), ids=BATCHES)
def test_pair_masks_match_enumeration(labels):
    positives, negatives = pair_masks(torch.tensor(labels))
    for i, first in enumerate(labels):
        for j, second in enumerate(labels):
            assert positives[i, j].item() == (i != j and first == second)
            assert negatives[i, j].item() == (first != second)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["mixed", "imbalanced", "one_positive_pair"])
def test_semihard_negatives_match_search(name, seed):
    labels = BATCHES[name]
    distances = random_distances(len(labels), seed)
    chosen = semihard_negatives(distances, pair_masks(torch.tensor(labels))[1])
    for a, label in enumerate(labels):
        for p, other in enumerate(labels):
            if a != p and label == other:
                assert chosen[a, p] == semihard_by_search(distances, labels, a, p)


def test_semihard_negative_as_far_as_the_positive_is_not_farther():
    row = torch.tensor([0.0, 1.0, 1.0, 3.0, 2.0])
    distances = row.expand(5, 5)
    negatives = torch.tensor([False, False, True, True, True]).expand(5, 5)
    assert semihard_negatives(distances, negatives)[0, 1] == 4


def test_semihard_negative_without_a_farther_one_is_the_farthest():
    distances = torch.tensor([0.0, 9.0, 1.0, 3.0, 2.0]).expand(5, 5)
    negatives = torch.tensor([False, False, True, True, True]).expand(5, 5)
    assert semihard_negatives(distances, negatives)[0, 1] == 3


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("labels", BATCHES.values(), ids=BATCHES)
def test_pair_weights_match_enumeration(labels, mining):
    distances = random_distances(len(labels))
    found = pair_weights(distances, torch.tensor(labels), mining)
    for weights, pairs in zip(
        found, pairs_by_search(distances, labels, mining), strict=True
    ):
        expected = weights_by_search(pairs, len(labels))
        torch.testing.assert_close(
            weights.double(), expected, atol=1e-6, rtol=0, msg=mining
        )


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pair_weights_keep_precision_of_distances(mining, dtype):
    distances = random_distances(8).to(dtype)
    for weights in pair_weights(distances, torch.tensor(BATCHES["mixed"]), mining):
        assert weights.dtype == dtype


@pytest.mark.parametrize("mining", MINING)
def test_pair_weights_sum_to_one_or_to_zero_without_pairs(mining):
    for labels, sums in [([0, 0, 1], (1, 1)), ([0, 0, 0], (1, 0)), ([0, 1, 2], (0, 1))]:
        found = pair_weights(random_distances(3), torch.tensor(labels), mining)
        if mining == "semihard" and labels == [0, 1, 2]:
            sums = (0, 0)  # a negative is chosen for a positive only
        assert [w.sum().item() for w in found] == pytest.approx(sums)


@pytest.mark.parametrize("mining", MINING)
def test_pair_weights_of_permuted_batch_are_permuted(mining):
    distances, labels = random_distances(8), torch.tensor(BATCHES["mixed"])
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    shuffled = pair_weights(distances[order][:, order], labels[order], mining)
    for weights, moved in zip(
        pair_weights(distances, labels, mining), shuffled, strict=True
    ):
        torch.testing.assert_close(weights[order][:, order], moved)


@pytest.mark.parametrize("mining", MINING)
def test_pair_weights_of_coinciding_embeddings_are_finite(mining):
    distances = pairwise_distances(torch.ones(6, 4))
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    for weights in pair_weights(distances, labels, mining):
        assert weights.isfinite().all()
        assert weights.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("mining", MINING)
def test_pair_weights_carry_no_gradient(mining):
    distances = random_distances(8).requires_grad_()
    for weights in pair_weights(distances, torch.tensor(BATCHES["mixed"]), mining):
        assert not weights.requires_grad


@pytest.mark.parametrize("shift", [-1.0, -100.0])
def test_semihard_negatives_of_values_below_zero_match_search(shift):
    labels = BATCHES["mixed"]
    values = random_distances(len(labels), 1) + shift
    values[values.abs() < 0.2] = -0.0
    chosen = semihard_negatives(values, pair_masks(torch.tensor(labels))[1])
    for a, label in enumerate(labels):
        for p, other in enumerate(labels):
            if a != p and label == other:
                best = semihard_by_search(values, labels, a, p)
                assert values[a, chosen[a, p]] == values[a, best]
