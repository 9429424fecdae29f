"""What is done about rare classes: budgets, weights, strengths, and their errors."""

import numpy as np
import pytest
import torch
from sklearn.utils import compute_class_weight
from skorch.callbacks import Callback

from sksiamese import SiameseEmbedder
from sksiamese._class_balance import balance_classes, refuse_counts
from sksiamese._module import EmbeddingNet
from sksiamese._preprocess import Preprocess
from sksiamese.augment import RandomAffine
from sksiamese.losses import ContrastiveLoss, TripletLoss

LABELS = np.array(["eel", "cat", "dog"])  # in the order of their codes
CODES = np.repeat([0, 1, 2], [10, 40, 5])


def fast(**params):
    params = {"max_epochs": 2, "random_state": 0, "validation_fraction": 0, **params}
    return SiameseEmbedder(**params)


def balance(labels=LABELS, codes=CODES, criterion=None, augment=None, **params):
    """Set it all on a small network; return that, the loss and the budget."""
    module = EmbeddingNet(
        Preprocess([0.0], [1.0]),
        torch.nn.Linear(3, 2),
        augmentation=RandomAffine() if augment is None else augment,
    )
    criterion = ContrastiveLoss() if criterion is None else criterion
    params = fast(**params).get_params()
    budget = balance_classes(module, criterion, params, labels, codes)
    return module, criterion, budget


@pytest.fixture
def imbalanced(digits):
    """Eights to ones as 1 to 10."""
    X, y, _, _ = digits
    rows = np.r_[np.flatnonzero(y == 8)[:8], np.flatnonzero(y == 1)[:80]]
    return X[rows], y[rows]


def test_defaults_set_nothing():
    module, criterion, budget = balance()
    assert module.strengths is None
    assert criterion.class_weight is None
    assert budget == "balanced"


@pytest.mark.parametrize(
    ("most", "expected"), [(2.0, [2, 1, 2]), (5.0, [4, 1, 5]), (100.0, [4, 1, 8])]
)
def test_strengths_are_bounded_by_the_ratio_of_counts(most, expected):
    module, _, _ = balance(augment_minority=most)
    assert module.strengths.tolist() == expected


def test_strength_of_a_class_without_training_images_is_finite():
    module, _, _ = balance(codes=np.repeat([0, 2], [10, 5]), augment_minority=3.0)
    assert module.strengths.isfinite().all()
    assert module.strengths[[0, 2]].tolist() == [1, 2]


def test_class_weights_balanced_are_those_of_scikit_learn():
    _, criterion, _ = balance(class_weight="balanced")
    expected = compute_class_weight("balanced", classes=np.arange(3), y=CODES)
    np.testing.assert_allclose(criterion.class_weight, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"cat": 2.0}, [1, 2, 1]),
        ({"eel": 3, "cat": 2.0, "dog": 0.5}, [3, 2, 0.5]),
        ({"eel": 3, "cat": 2.0, "dog": 0.5, "ox": 9}, [3, 2, 0.5]),
    ],
)
def test_class_weights_are_given_by_label(given, expected):
    _, criterion, _ = balance(class_weight=given)
    assert criterion.class_weight.tolist() == expected


def test_class_weights_take_labels_that_look_like_numbers():
    """scikit-learn 1.9 itself looks the label "10" up as the number 10."""
    labels = np.array(["10", "2", "33"])
    _, criterion, _ = balance(labels=labels, class_weight={"10": 4.0, "2": 2.0})
    assert criterion.class_weight.tolist() == [4, 2, 1]


@pytest.mark.parametrize(
    "labels", [["b", "a", "c"], [3, 1, 2], [0.5, 2.0, -1.0], [False, True, 7]], ids=str
)
@pytest.mark.parametrize("dtype", [None, object])
def test_labels_of_any_kind_are_looked_up(labels, dtype):
    known = np.array(labels, dtype=dtype)
    given = dict(zip(known.tolist(), [2.0, 3.0, 4.0], strict=True))
    _, criterion, budget = balance(labels=known, class_weight=given, pair_budget=given)
    assert criterion.class_weight.tolist() == [2, 3, 4]
    assert budget == {0: 2, 1: 3, 2: 4}
    del given[known.tolist()[1]]
    with pytest.raises(ValueError, match="pair_budget names no number for the classes"):
        balance(labels=known, pair_budget=given)


def test_pair_budget_is_given_by_label():
    budget = {"cat": 2, "dog": 1.0, "eel": 7.0, "ox": 1.0}
    assert balance(pair_budget=budget)[2] == {0: 7, 1: 2, 2: 1}
    assert balance(pair_budget="natural")[2] == "natural"


def test_loss_of_the_callers_keeps_its_class_weight():
    own = ContrastiveLoss(class_weight=torch.tensor([1.0, 2.0, 3.0]))
    _, criterion, _ = balance(criterion=own, loss=own)
    assert criterion.class_weight.tolist() == [1, 2, 3]


def test_loss_of_an_earlier_fit_that_has_no_weights_is_refused():
    """A warm start keeps the loss of the fit before."""
    with pytest.raises(ValueError, match="class_weight='balanced'.*TripletLoss"):
        balance(criterion=TripletLoss(), class_weight="balanced")


@pytest.mark.parametrize(
    "params",
    [
        # Names hold no addresses, which differ between the processes of a test run.
        pytest.param({"augment_minority": 2.0, "augment": torch.clone}, id="clone"),
        {"pair_budget": {"eel": 1.0}},
        {"class_weight": {"eel": 0.0}},
    ],
    ids=str,
)
def test_refused_parameters_set_nothing(params):
    module = EmbeddingNet(Preprocess([0.0], [1.0]), torch.nn.Linear(3, 2))
    criterion = ContrastiveLoss()
    params = fast(**params).get_params()
    with pytest.raises(ValueError):
        balance_classes(module, criterion, params, LABELS, CODES)
    assert module.strengths is None
    assert criterion.class_weight is None


def test_chunk_without_counts_passes_what_needs_none():
    params = {"class_weight": {0: 2.0}, "pair_budget": {0: 1.0, 1: 2.0}}
    refuse_counts(fast(**params).get_params())


class Recorder(Callback):
    """Keeps the labels of every batch, in a list that copies share."""

    seen = []

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        Recorder.seen.append(batch[1].tolist())


@pytest.mark.parametrize(
    ("pair_budget", "images"),
    [
        ("balanced", {8, 22}),
        ({1: 1.0, 8: 1.0}, {8, 22}),
        ({1: 20.0, 8: 1.0}, {8, 36}),
    ],
    ids=str,
)
def test_pair_budget_reaches_the_batches(imbalanced, pair_budget, images):
    Recorder.seen = []
    fast(
        batch_size=44, pair_budget=pair_budget, callbacks=[Recorder()], max_epochs=1
    ).fit(*imbalanced)
    for labels in Recorder.seen:
        assert {labels.count(0), labels.count(1)} == images


def test_pair_budget_natural_shows_each_image_once_in_a_pass(imbalanced):
    X, y = imbalanced
    Recorder.seen = []
    options = {"callbacks": [Recorder()], "max_epochs": 1, "batch_size": 22}
    fast(pair_budget="natural", **options).fit(X, y)
    codes = sum(Recorder.seen, [])
    assert sorted(codes) == [0] * 80 + [1] * 8


@pytest.mark.parametrize(
    "params",
    [
        {"augment": "light"},
        {"augment": "strong"},
        {"augment": "isotropic"},
        {"augment_minority": 4.0},
        {"pair_budget": "natural"},
        {"pair_budget": {1: 1.0, 8: 3.0}},
        {"class_weight": "balanced"},
        {"class_weight": "balanced", "loss": "focal_contrastive"},
        {"loss": "focal_contrastive"},
    ],
    ids=str,
)
def test_training_with_each_is_changed_and_repeats(imbalanced, params):
    X, y = imbalanced
    plain, first, again = (
        fast(**p).fit(X, y).transform(X) for p in ({}, params, params)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(plain, first)


def test_augment_auto_is_medium(imbalanced):
    X, y = imbalanced
    Z = [fast(augment=name).fit(X, y).transform(X) for name in ("auto", "medium")]
    np.testing.assert_array_equal(*Z)


def test_minority_is_augmented_more_strongly_in_training(imbalanced):
    """Read off the network in use: its images of one class move farther."""
    X, y = imbalanced
    embedder = fast(augment_minority=5.0).fit(X, y)
    module = embedder.net_.module_
    raw = torch.from_numpy(X[:1].copy()).expand(200, 8, 8)
    torch.manual_seed(0)
    with torch.no_grad():
        still = module.preprocess(raw)
        moved = [
            (
                module.augmentation(still, module.strengths[torch.full((200,), c)])
                - still
            )
            .square()
            .mean()
            .item()
            for c in (0, 1)
        ]
    assert module.strengths.tolist() == [1, 5]  # ones are ten times as many
    assert moved[1] > 2 * moved[0]


def test_warm_fit_counts_the_new_images(imbalanced):
    X, y = imbalanced
    options = {"augment_minority": 20.0, "class_weight": "balanced"}
    embedder = fast(warm_start=True, **options).fit(X, y)
    assert embedder.net_.module_.strengths.tolist() == [1, 10]
    more = np.r_[X, X[:8], X[:4]], np.r_[y, np.full(8, 8), np.full(4, 3)]
    embedder.fit(*more)
    assert embedder.net_.module_.strengths.tolist() == [1, 5, 20]
    assert len(embedder.net_.criterion_.class_weight) == 3
    embedder.set_params(augment_minority=1.0, class_weight=None).fit(X, y)
    assert embedder.net_.module_.strengths is None
    assert embedder.net_.criterion_.class_weight is None


def test_stream_after_fit_follows_the_parameters(digits):
    X, y, X_new, _ = digits
    embedder = fast(augment_minority=3.0).fit(X[y < 5], y[y < 5])
    embedder.set_params(augment_minority=1.0, class_weight={0: 3.0, 7: 2.0})
    budget = dict.fromkeys(range(10), 1.0)
    embedder.set_params(pair_budget=budget)
    for rows in (y < 8, (y == 7) | (y == 0), y > 6):
        if rows.sum() and 0 not in y[rows]:
            embedder.set_params(class_weight={7: 2.0})
        embedder.partial_fit(X[rows], y[rows])
    assert embedder.net_.module_.strengths is None
    weights = dict(
        zip(embedder._known_labels, embedder.net_.criterion_.class_weight, strict=True)
    )
    assert weights[7] == 2
    assert weights[9] == 1
    assert np.isfinite(embedder.transform(X_new)).all()


def test_compiled_network_and_loss_are_balanced_as_plain_ones(imbalanced):
    """The backend "eager" traces as compilers do, and needs none."""
    X, y = imbalanced
    options = {"class_weight": "balanced", "augment_minority": 3.0}
    options["precision"] = "float32"
    eager = {"compile": True, "compile__backend": "eager"}
    plain, compiled = (
        fast(net_params=net_params, **options).fit(X, y).transform(X)
        for net_params in (None, eager)
    )
    np.testing.assert_allclose(plain, compiled, atol=1e-4)
