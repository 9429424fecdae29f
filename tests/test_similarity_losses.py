"""Losses on cosine similarities: what follows from their formulas.

Their values are compared with explicit loops in test_losses.
"""

import pytest
import torch
from torch.nn import functional as F

from sksiamese._similarity_losses import full_precision
from sksiamese.losses import MultiSimilarityLoss, SupervisedContrastiveLoss

LOSSES = [MultiSimilarityLoss, SupervisedContrastiveLoss]
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])


def random_batch(n=8, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 5, generator=generator, dtype=dtype)


@pytest.mark.parametrize("loss", LOSSES)
def test_length_of_each_embedding_does_not_matter(loss):
    embeddings = random_batch()
    lengths = torch.linspace(0.1, 30, len(embeddings), dtype=torch.float64)[:, None]
    torch.testing.assert_close(
        loss()(embeddings * lengths, LABELS), loss()(embeddings, LABELS)
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_is_at_right_angles_to_each_embedding(loss):
    embeddings = random_batch().requires_grad_()
    loss()(embeddings, LABELS).backward()
    assert embeddings.grad.norm() > 1e-3
    along = (embeddings.grad * embeddings).sum(1)
    torch.testing.assert_close(along, torch.zeros_like(along))


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_supervised_contrastive_of_twos_is_a_classification(temperature):
    """With one positive an anchor, to choose it among the others by cross-entropy."""
    embeddings = random_batch()
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    unit = F.normalize(embeddings, dim=1)
    logits = (unit @ unit.T / temperature).fill_diagonal_(-torch.inf)
    partner = torch.arange(8).roll(4)
    torch.testing.assert_close(
        SupervisedContrastiveLoss(temperature)(embeddings, labels),
        F.cross_entropy(logits, partner),
    )


def test_multi_similarity_of_great_sharpness_is_the_hinge_of_the_hardest_pairs():
    embeddings = random_batch()
    loss = MultiSimilarityLoss(alpha=1e4, beta=1e4, base=0.3)(embeddings, LABELS)
    similarity = F.cosine_similarity(embeddings[:, None], embeddings[None], dim=2)
    total = 0.0
    for a, row in enumerate(similarity):
        others = [j for j in range(len(row)) if j != a]
        positives = [row[j] for j in others if LABELS[j] == LABELS[a]]
        negatives = [row[j] for j in others if LABELS[j] != LABELS[a]]
        total += max(0, 0.3 - min(positives)) + max(0, max(negatives) - 0.3)
    torch.testing.assert_close(loss, total / len(embeddings), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_full_precision_is_float32_at_least(given, expected):
    embeddings = random_batch(dtype=torch.float32).to(given)
    assert full_precision(embeddings).dtype == expected
    assert torch.equal(full_precision(embeddings).to(given), embeddings)
