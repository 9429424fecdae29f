"""Losses against explicit loops, finite differences and another package."""

import math

import pytest
import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning.distances import LpDistance
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from sksiamese.losses import (
    LOSSES,
    ContrastiveLoss,
    LogisticLoss,
    MultiSimilarityLoss,
    SupervisedContrastiveLoss,
    TripletLoss,
    make_loss,
)
from sksiamese.mining import MINING

DIM = 4
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 3, 1])
MINED = [name for name in LOSSES if name != "supervised_contrastive"]
EVERY = [(name, mining) for name in MINED for mining in MINING]
EVERY += [("supervised_contrastive", "all")]


def random_batch(seed=0, n=10):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, DIM, generator=generator, dtype=torch.float64)


def build(name, mining="all", dtype=torch.float64):
    loss = make_loss(name, embedding_dim=DIM, margin=1.5, mining=mining)
    if name == "logistic":  # a difference may speak for "same" as well as against it
        loss.weight.data = torch.tensor([0.7, -0.4, 1.1, 0.2])
    return loss.to(dtype)


def dissimilarity(name, loss, a, b):
    """By how much two embeddings differ, as the loss sees it."""
    if name == "logistic":
        return sum(w * abs(s - t) for w, s, t in zip(loss.weight, a, b, strict=True))
    if name in ("multi_similarity", "supervised_contrastive"):
        return 1 - a @ b / a.norm() / b.norm()
    distance = (a - b).norm()
    return loss.weight[0] * distance if name == "logistic_distance" else distance


def neighbours(row, labels, a, mining):
    """Positives and negatives of an anchor that count; with repeats, if semi-hard."""
    near_first = sorted(range(len(row)), key=row.__getitem__)
    same = [j for j in near_first if j != a and labels[j] == labels[a]]
    other = [j for j in near_first if labels[j] != labels[a]]
    if mining == "hard":
        return same[-1:], other[:1]
    if mining == "semihard" and other:
        farther = [[j for j in other if row[j] > row[p]] for p in same]
        return same, [f[0] if f else other[-1] for f in farther]
    return same, other


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def pull_by_hand(loss, distance):
    return distance**2 * min(1, distance / loss.margin) ** loss.gamma


def push_by_hand(loss, distance):
    gap = max(0, loss.margin - distance)
    return gap**2 * (gap / loss.margin) ** loss.gamma


def pair_loss_by_loop(loss, d, chosen):
    positives = [d[a][p] for a, (same, _) in enumerate(chosen) for p in same]
    negatives = [d[a][j] for a, (_, other) in enumerate(chosen) for j in other]
    if isinstance(loss, ContrastiveLoss):
        push = mean(push_by_hand(loss, x) for x in negatives)
        return mean(pull_by_hand(loss, x) for x in positives) + push
    bias = loss.bias.item()
    push = mean(math.log1p(math.exp(bias - x)) for x in negatives)
    return mean(math.log1p(math.exp(x - bias)) for x in positives) + push


def triplet_by_loop(loss, d, chosen):
    costs = []
    for a, (same, other) in enumerate(chosen):
        triplets = [(p, j) for p in same for j in other]
        if loss.mining == "semihard":
            triplets = zip(same, other, strict=True)
        costs += [max(0, d[a][p] - d[a][j] + loss.margin) for p, j in triplets]
    return mean(c for c in costs if c > 0 or loss.mining != "all")


def multi_similarity_by_loop(loss, d, chosen):
    costs = []
    for a, (same, other) in enumerate(chosen):
        s = [1 - value - loss.base for value in d[a]]
        pull = sum(math.exp(-loss.alpha * s[p]) for p in set(same))
        push = sum(math.exp(loss.beta * s[j]) for j in set(other))
        costs.append(math.log1p(pull) / loss.alpha + math.log1p(push) / loss.beta)
    return mean(costs)


def supervised_contrastive_by_loop(loss, d, chosen):
    costs = []
    for a, (same, other) in enumerate(chosen):
        e = [math.exp((1 - value) / loss.temperature) for value in d[a]]
        total = sum(e[j] for j in same + other)
        if same:
            costs.append(mean(-math.log(e[p] / total) for p in same))
    return mean(costs)


ORACLES = {
    "triplet": triplet_by_loop,
    "multi_similarity": multi_similarity_by_loop,
    "supervised_contrastive": supervised_contrastive_by_loop,
}


@torch.no_grad()
def loss_by_loop(name, loss, embeddings, labels, mining):
    d = [[dissimilarity(name, loss, a, b) for b in embeddings] for a in embeddings]
    d = [[float(value) for value in row] for row in d]
    chosen = [neighbours(d[a], labels, a, mining) for a in range(len(labels))]
    return ORACLES.get(name, pair_loss_by_loop)(loss, d, chosen)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "mining"), EVERY)
def test_loss_value_matches_loop(name, mining, seed):
    loss, embeddings = build(name, mining), random_batch(seed)
    expected = loss_by_loop(name, loss, embeddings, LABELS.tolist(), mining)
    assert loss(embeddings, LABELS).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("name", "mining"), EVERY)
def test_loss_gradient_matches_finite_differences(name, mining):
    loss = build(name, mining)
    parameters = dict(loss.named_parameters())

    def value(embeddings, *tensors):
        given = dict(zip(parameters, tensors, strict=True))
        return torch.func.functional_call(loss, given, (embeddings, LABELS[:6]))

    embeddings = random_batch(n=6).requires_grad_()
    assert torch.autograd.gradcheck(value, (embeddings, *parameters.values()))


@pytest.mark.parametrize(("name", "mining"), EVERY)
def test_loss_of_permuted_and_rotated_batch_is_unchanged(name, mining):
    loss, embeddings = build(name, mining), random_batch()
    order = torch.tensor([3, 7, 0, 9, 4, 1, 8, 6, 2, 5])
    rotation, _ = torch.linalg.qr(random_batch(seed=9, n=DIM))
    if name == "logistic":  # looks at the axes one by one
        rotation = torch.eye(DIM).double()
    changed = loss((embeddings @ rotation)[order], LABELS[order])
    torch.testing.assert_close(changed, loss(embeddings, LABELS))


DEGENERATE = {
    "one_class": (random_batch(n=4), [0, 0, 0, 0]),
    "all_different": (random_batch(n=4), [0, 1, 2, 3]),
    "one_sample": (random_batch(n=1), [0]),
    "coinciding": (random_batch(n=1).expand(6, DIM), [0, 0, 0, 1, 1, 2]),
    "separated": (9 * torch.eye(DIM).double()[[0, 0, 1, 1]], [0, 0, 1, 1]),
    "duplicates": (random_batch(n=3).repeat(2, 1), [0, 1, 1, 0, 1, 2]),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize(("name", "mining"), EVERY)
def test_loss_of_degenerate_batch_is_finite(name, mining, case, dtype):
    embeddings, labels = DEGENERATE[case]
    embeddings = embeddings.to(dtype).clone().requires_grad_()
    value = build(name, mining, dtype)(embeddings, torch.tensor(labels))
    value.backward()
    assert 0 <= value.item() < math.inf
    assert embeddings.grad.isfinite().all()


NOTHING_TO_LEARN = [(*every, "one_sample") for every in EVERY]
for name in ("contrastive", "focal_contrastive"):
    NOTHING_TO_LEARN += [(name, mining, "separated") for mining in MINING]
for case in ("one_class", "all_different", "separated"):
    NOTHING_TO_LEARN += [("triplet", mining, case) for mining in MINING]
NOTHING_TO_LEARN += [("supervised_contrastive", "all", "all_different")]


@pytest.mark.parametrize(("name", "mining", "case"), NOTHING_TO_LEARN)
def test_loss_is_zero_with_nothing_to_learn(name, mining, case):
    embeddings, labels = DEGENERATE[case]
    embeddings = embeddings.clone().requires_grad_()
    value = build(name, mining)(embeddings, torch.tensor(labels))
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-11)
    assert embeddings.grad.abs().max() == 0


@pytest.mark.parametrize(("name", "mining"), EVERY)
def test_loss_of_bfloat16_embeddings_is_computed_in_float32(name, mining):
    loss, embeddings = build(name, mining, torch.float32), random_batch().bfloat16()
    value = loss(embeddings, LABELS)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(embeddings.float(), LABELS))


class LargestTensor(TorchDispatchMode):
    """Records the most elements that any tensor of a computation had."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        parts = out if isinstance(out, tuple | list) else (out,)
        sizes = [p.numel() for p in parts if isinstance(p, torch.Tensor)]
        self.numel = max([self.numel, *sizes])
        return out


@pytest.mark.parametrize(("name", "mining"), EVERY)
def test_loss_memory_is_quadratic_in_batch(name, mining):
    n = 60
    embeddings = random_batch(n=n).requires_grad_()
    with LargestTensor() as largest:
        build(name, mining)(embeddings, torch.arange(n) % 5).backward()
    assert largest.numel <= n * (n + 1)


# Their triplet loss averages the triplets that cost something, too.
PLAIN = LpDistance(normalize_embeddings=False)
THE_SAME = {
    "multi_similarity": (MultiSimilarityLoss(3, 9), pml.MultiSimilarityLoss(3, 9)),
    "supervised_contrastive": (SupervisedContrastiveLoss(0.2), pml.SupConLoss(0.2)),
    "triplet": (TripletLoss(0.7), pml.TripletMarginLoss(0.7, distance=PLAIN)),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", THE_SAME)
def test_loss_agrees_with_pytorch_metric_learning(name, seed):
    ours, theirs = THE_SAME[name]
    batch = random_batch(seed), LABELS
    torch.testing.assert_close(ours(*batch), theirs(*batch))


@pytest.mark.parametrize("mining", ["semihard", "hard"])
def test_triplet_of_two_and_one_agrees_with_torch(mining):
    a, p, n = random_batch(n=3)
    found = TripletLoss(2.0, mining)(torch.stack([a, p, n]), torch.tensor([0, 0, 1]))
    anchors, positives, negatives = map(torch.stack, ([a, p], [p, a], [n, n]))
    theirs = nn.TripletMarginLoss(2.0, eps=0)(anchors, positives, negatives)
    torch.testing.assert_close(found, theirs)


@pytest.mark.parametrize("on", ["difference", "distance"])
def test_logistic_pair_logit_is_what_the_loss_trains(on):
    loss = LogisticLoss(DIM, on).double()
    a, b = random_batch(n=2)
    logit = loss.pair_logit(a[None], b[None])
    for labels, sign in ([0, 0], -1), ([0, 1], 1):
        value = loss(torch.stack([a, b]), torch.tensor(labels))
        torch.testing.assert_close(value[None], nn.functional.softplus(sign * logit))


def test_logistic_hard_mining_of_far_pairs_matches_loop():
    """Pairs so far apart that sigmoid(logit) is 0 in float32 still have an order."""
    loss = build("logistic_distance", "hard", torch.float32)
    embeddings = torch.tensor([[0.0], [10.0], [40.0], [15.0], [70.0], [25.0]])
    labels = [0, 0, 0, 1, 1, 1]
    expected = loss_by_loop("logistic_distance", loss, embeddings, labels, "hard")
    assert loss(embeddings, torch.tensor(labels)).item() == pytest.approx(expected)


def test_logistic_unknown_input_names_parameter():
    with pytest.raises(ValueError, match="The 'on' parameter.*'cosine'"):
        LogisticLoss(2, on="cosine")


@pytest.mark.parametrize("name", ["contrastive", "focal_contrastive", "triplet"])
def test_make_loss_named_passes_margin_and_mining(name):
    loss = make_loss(name, embedding_dim=3, margin=0.3, mining="hard")
    assert (loss.margin, loss.mining) == (0.3, "hard")


@pytest.mark.parametrize("name", MINED)
def test_make_loss_auto_mining_is_semihard_where_there_is_a_margin(name):
    loss = make_loss(name, embedding_dim=3)
    assert loss.mining == ("semihard" if hasattr(loss, "margin") else "all")


def test_make_loss_module_is_copied():
    own = LogisticLoss(3)
    loss = make_loss(own, embedding_dim=3)
    loss.bias.data.fill_(7)
    assert own.bias.item() == 2.5


@pytest.mark.parametrize("loss", ["supervised_contrastive", ContrastiveLoss()])
def test_make_loss_mining_that_does_not_apply_names_parameter(loss):
    with pytest.raises(ValueError, match="mining='hard' does not apply.*mining='auto'"):
        make_loss(loss, embedding_dim=3, mining="hard")


def weighted_by_loop(loss, embeddings, labels):
    """Every ordered pair, weighed by the mean weight of its two members."""
    sums = {True: [0.0, 0.0], False: [0.0, 0.0]}
    chosen = [
        neighbours(
            [(a - b).norm().item() for b in embeddings], labels.tolist(), i, loss.mining
        )
        for i, a in enumerate(embeddings)
    ]
    for i, (positives, negatives) in enumerate(chosen):
        for j in positives + negatives:
            same = bool(labels[i] == labels[j])
            distance = (embeddings[i] - embeddings[j]).norm().item()
            cost = (pull_by_hand if same else push_by_hand)(loss, distance)
            weight = loss.class_weight[labels[[i, j]]].mean().item()
            sums[same][0] += weight * cost
            sums[same][1] += weight
    return sum(total / weight for total, weight in sums.values() if weight)


WEIGHTS = torch.tensor([0.3, 5.0, 1.0, 2.0], dtype=torch.float64)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("mining", MINING)
def test_contrastive_with_class_weights_matches_loop(mining, gamma):
    loss = ContrastiveLoss(1.5, mining, gamma, WEIGHTS)
    for seed in range(3):
        embeddings = random_batch(seed)
        expected = weighted_by_loop(loss, embeddings, LABELS)
        assert loss(embeddings, LABELS).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("mining", MINING)
def test_contrastive_of_equal_class_weights_is_the_plain_loss(mining, gamma):
    plain = ContrastiveLoss(1.5, mining, gamma)
    weighted = ContrastiveLoss(1.5, mining, gamma, torch.full((4,), 7.0))
    batch = random_batch(), LABELS
    torch.testing.assert_close(weighted(*batch), plain(*batch))


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_contrastive_class_weights_matter_by_their_proportions(factor):
    batch = random_batch(), LABELS
    losses = [
        ContrastiveLoss(class_weight=w)(*batch) for w in (WEIGHTS, factor * WEIGHTS)
    ]
    torch.testing.assert_close(*losses)


def test_contrastive_without_gamma_is_the_plain_loss_to_the_bit():
    embeddings = random_batch().float().requires_grad_()
    gradients = []
    for loss in (ContrastiveLoss(1.5, gamma=0.0), ContrastiveLoss(1.5)):
        value = loss(embeddings, LABELS)
        gradients.append(torch.autograd.grad(value, embeddings)[0])
    distances = (embeddings[:, None] - embeddings).norm(dim=2)
    assert torch.equal(*gradients)
    same = LABELS[:, None] == LABELS
    own = torch.eye(10, dtype=torch.bool)
    push = (1.5 - distances[~same]).relu().square().mean()
    expected = distances[same & ~own].square().mean() + push
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("mining", MINING)
def test_contrastive_focal_weighted_gradient_matches_finite_differences(mining, gamma):
    loss = ContrastiveLoss(1.5, mining, gamma, WEIGHTS)
    embeddings = random_batch(n=6).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, LABELS[:6]), (embeddings,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("mining", MINING)
def test_contrastive_focal_weighted_of_degenerate_batch_is_finite(
    mining, gamma, case, dtype
):
    embeddings, labels = DEGENERATE[case]
    embeddings = embeddings.to(dtype).clone().requires_grad_()
    value = ContrastiveLoss(1.5, mining, gamma, WEIGHTS)(
        embeddings, torch.tensor(labels)
    )
    value.backward()
    assert value.dtype == dtype
    assert 0 <= value.item() < math.inf
    assert embeddings.grad.isfinite().all()


def test_focal_loss_lets_easy_pairs_count_less():
    """Two positives, one near and one far: the far one gets more of the gradient."""
    shares = []
    for gamma in (0.0, 1.0, 2.0):
        z = torch.tensor([[0.0], [0.1], [5.0], [6.0]], requires_grad=True)
        ContrastiveLoss(1.5, gamma=gamma)(z, torch.tensor([0, 0, 1, 1])).backward()
        shares.append((z.grad[0] / z.grad[2]).abs().item())
    assert shares == pytest.approx([0.1, 0.01, 0.001], rel=1e-3)


def test_make_loss_focal_contrastive_is_contrastive_with_gamma_2():
    loss = make_loss("focal_contrastive", embedding_dim=3, margin=0.7)
    assert (type(loss), loss.gamma, loss.margin) == (ContrastiveLoss, 2.0, 0.7)


def test_contrastive_negative_gamma_names_parameter():
    with pytest.raises(ValueError, match="The 'gamma' parameter.*Got -1"):
        ContrastiveLoss(gamma=-1)
