"""Temperature and wanted class frequencies against loops, grids and known densities."""

import math

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax
from scipy.stats import entropy, multivariate_normal
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from sksiamese._calibration import calibrate, fit_temperature, log_odds
from sksiamese._decision import PrototypeHead, RefittedHead


def cross_entropy_by_loop(logits, codes, temperature, offset=(0, 0, 0)):
    """Platt's smoothed targets, one sample at a time."""
    n, n_classes = logits.shape
    doubt = n_classes / (n_classes - 1) / (n + 2)
    known = [math.exp(v) / sum(math.exp(v) for v in offset) for v in offset]
    total = 0.0
    for row, code in zip(logits / temperature, codes, strict=True):
        row = row + offset
        log_norm = row.max() + math.log(sum(math.exp(v - row.max()) for v in row))
        for c, value in enumerate(row):
            target = doubt * known[c] + (1 - doubt if c == code else 0)
            total -= target * (value - log_norm)
    return total / n


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_temperature_is_the_best_of_a_grid(scale, seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, 40)
    logits = scale * (rng.normal(size=(40, 3)) + np.eye(3)[codes])
    found = fit_temperature(logits, codes)
    grid = scale * np.geomspace(0.05, 50, 200)
    best = min(cross_entropy_by_loop(logits, codes, t) for t in grid)
    assert cross_entropy_by_loop(logits, codes, found) <= best + 1e-9


@pytest.mark.parametrize("temperature", [0.2, 1.0, 30.0])
def test_temperature_of_simulated_labels_is_recovered(temperature):
    rng = np.random.default_rng(0)
    true = 2 * rng.normal(size=(20_000, 3))
    gumbel = rng.gumbel(size=true.shape)  # argmax draws from the softmax
    found = fit_temperature(temperature * true, (true + gumbel).argmax(axis=1))
    assert found == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_temperature_of_separated_samples_leaves_platts_doubt(n):
    codes = np.arange(n) % 2
    found = fit_temperature(7 * np.eye(2)[codes], codes)
    # sigmoid(7 / T) = (n + 1) / (n + 2)
    assert found == pytest.approx(7 / math.log(n + 1), rel=1e-3)


@pytest.mark.parametrize("logits", [np.zeros((5, 3)), np.arange(5.0)[:, None]], ids=len)
def test_temperature_without_spread_is_one(logits):
    assert fit_temperature(logits, np.zeros(5, dtype=int)) == 1.0


def test_temperature_of_misleading_logits_is_large_and_finite():
    codes = np.arange(20) % 2
    found = fit_temperature(np.eye(2)[1 - codes], codes)
    assert 100 < found < math.inf


MEANS, SIGMA = np.array([[0.0, 0.0], [2.0, 1.0], [-1.0, 2.0]]), 1.3


def draw(counts, seed=0):
    """Draw round clouds of known density, in random order."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return MEANS[y] + SIGMA * rng.normal(size=(len(y), 2)), y


def true_posteriors(Z, priors):
    """Bayes' rule, written out."""
    density = [
        prior * multivariate_normal(mean, SIGMA**2).pdf(Z)
        for mean, prior in zip(MEANS, priors, strict=False)
    ]
    return np.transpose(density) / np.sum(density, axis=0)[:, None]


HEADS = {
    "prototype": PrototypeHead,
    "logistic": lambda: RefittedHead(LogisticRegression()),
    "balanced": lambda: RefittedHead(LogisticRegression(class_weight="balanced")),
}


@pytest.mark.parametrize(
    "counts", [(200_000, 10_000), (5000, 100_000), (90_000, 3000, 20_000)]
)
@pytest.mark.parametrize("wanted", ["train", "even", "reversed"])
@pytest.mark.parametrize("name", HEADS)
def test_log_odds_with_priors_are_the_true_posteriors(name, wanted, counts):
    """Of a population in which classes are as frequent as wanted, 1 to 20 and else."""
    Z, y = draw(counts)
    train = np.array(counts) / sum(counts)
    even = np.full(len(counts), 1 / len(counts))
    priors = {"train": train, "even": even, "reversed": train[::-1]}[wanted]
    head = HEADS[name]().partial_fit(Z[::2], y[::2])
    temperature, report = calibrate(
        head, Z[1::2], y[1::2], held_out=True, priors=priors
    )
    points = np.random.default_rng(1).uniform(-3, 4, size=(400, 2))
    found = softmax(log_odds(head, head.logits(points), temperature, priors), axis=1)
    gaps = np.abs(found - true_posteriors(points, priors))
    # What the means of 1500 to 5000 rare samples leave; without the correction 0.5.
    assert gaps.max() < 0.08
    assert gaps.mean() < 0.01
    assert report["expected_calibration_error"] < 0.02


def test_temperature_with_priors_is_that_of_the_density():
    """The log-density of a round cloud is the squared distance over 2 sigma squared."""
    Z, y = draw((20_000, 1000))
    head = PrototypeHead().partial_fit(Z[::2], y[::2])
    for priors in ([20 / 21, 1 / 21], [0.5, 0.5], [0.1, 0.9]):
        found, _ = calibrate(
            head, Z[1::2], y[1::2], held_out=True, priors=np.array(priors)
        )
        assert found == pytest.approx(2 * SIGMA**2, rel=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_temperature_with_offset_is_the_best_of_a_grid(seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, 40)
    logits = rng.normal(size=(40, 3)) + np.eye(3)[codes]
    offset = np.array([0.5, -1.0, 0.2])
    found = fit_temperature(logits, codes, offset=offset)
    grid = np.geomspace(0.05, 50, 200)
    best = min(cross_entropy_by_loop(logits, codes, t, offset) for t in grid)
    assert cross_entropy_by_loop(logits, codes, found, offset) <= best + 1e-9


@pytest.mark.parametrize("rare", [0.3, 0.1, 0.03, 0.001])
@pytest.mark.parametrize("n", [10, 40, 400])
def test_priors_of_classes_told_apart_beat_the_frequencies_alone(n, rare):
    """Cases and controls are collected alike, and one of them is rare in use."""
    rng = np.random.default_rng(n)
    y, new = np.arange(2 * n) % 2, np.arange(20_000) % 2
    Z, Z_new = (rng.normal(size=(len(a), 2)) + 6 * a[:, None] for a in (y, new))
    priors = np.array([1 - rare, rare])
    head = PrototypeHead().partial_fit(Z[:n], y[:n])
    temperature, _ = calibrate(head, Z[n:], y[n:], held_out=True, priors=priors)
    log_p = log_softmax(log_odds(head, head.logits(Z_new), temperature, priors), axis=1)
    cost = -np.average(log_p[np.arange(len(new)), new], weights=priors[new])
    # As much as so few held-out samples vouch for; with 400, nearly all.
    assert cost < {10: 0.7, 40: 0.4, 400: 0.15}[n] * entropy(priors)


@pytest.mark.parametrize("weight", [1e-7, 1e7])
def test_priors_do_not_move_the_temperature(weight):
    """How far apart classes lie has nothing to do with how frequent they are.

    Weighted to represent the priors, a few samples of one class would decide alone.
    """
    Z, y = draw((60, 20))
    head = PrototypeHead().partial_fit(Z[::2], y[::2])
    found = [
        calibrate(head, Z[1::2], y[1::2], held_out=True, priors=np.array([p, 1 - p]))[0]
        for p in (0.5, 1 / (1 + weight))
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_report_counts_the_classes_that_calibrated():
    Z, y = draw((200, 40))
    head = PrototypeHead().partial_fit(Z[::2], y[::2])
    rest, labels = Z[1::2], y[1::2]
    _, report = calibrate(head, rest, labels, held_out=True)
    assert (report["n_images"], report["n_classes"]) == (120, 2)
    common = labels == 0
    _, report = calibrate(head, rest[common], labels[common], held_out=True)
    assert report["n_classes"] == 1


@pytest.mark.parametrize("head", ["prototype", "knn"])
def test_priors_leave_the_order_of_two_classes(head):
    Z, y = draw((2000, 100))
    new, y_new = draw((2000, 100), seed=1)
    make = {**HEADS, "knn": lambda: RefittedHead(KNeighborsClassifier(31))}[head]
    scores = []
    for priors in (None, np.array([20 / 21, 1 / 21])):
        fitted = make().partial_fit(Z[::2], y[::2])
        options = {"held_out": True, "priors": priors}
        temperature, _ = calibrate(fitted, Z[1::2], y[1::2], **options)
        scores.append(
            log_odds(fitted, fitted.logits(new), temperature, priors) @ [-1, 1]
        )
    assert roc_auc_score(y_new, scores[0]) == pytest.approx(
        roc_auc_score(y_new, scores[1]), abs=1e-12
    )


def test_priors_correct_the_calibration_of_prototypes_under_imbalance():
    Z, y = draw((4000, 200))
    new, y_new = draw((40_000, 2000), seed=1)
    errors = []
    for priors in (None, np.array([20 / 21, 1 / 21])):
        head = PrototypeHead().partial_fit(Z[::2], y[::2])
        temperature, _ = calibrate(head, Z[1::2], y[1::2], held_out=True, priors=priors)
        proba = softmax(log_odds(head, head.logits(new), temperature, priors), axis=1)[
            :, 1
        ]
        bins = np.digitize(proba, np.linspace(0, 1, 11))
        errors.append(
            sum(
                abs((proba[bins == b] - y_new[bins == b]).sum()) / len(y_new)
                for b in np.unique(bins)
            )
        )
    assert errors[0] > 0.1
    assert errors[1] < 0.01


def test_log_odds_without_priors_are_logits_over_the_temperature():
    Z, y = draw((30, 20))
    head = PrototypeHead().partial_fit(Z, y)
    np.testing.assert_array_equal(
        log_odds(head, head.logits(Z), 3.0), head.logits(Z) / 3.0
    )
    shifted = log_odds(head, head.logits(Z), 3.0, np.array([0.9, 0.1])) @ [-1, 1]
    odds = log_odds(head, head.logits(Z), 3.0) @ [-1, 1]
    np.testing.assert_allclose(expit(shifted), expit(odds + np.log(0.1 / 0.9)))
