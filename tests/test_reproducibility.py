"""Equal seeds give equal models, and nobody's generator is touched."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sksiamese import SiameseClassifier, SiameseEmbedder


def generator_states():
    return torch.random.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002


def assert_unchanged(before):
    after = generator_states()
    assert torch.equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"backbone": "mlp"},
        {"precision": "bfloat16"},
        {"loss": "logistic", "classifier": "knn"},
        {"n_prototypes": 3, "early_stopping": True},
    ],
    ids=str,
)
def test_equal_seeds_give_equal_bits(digits, params):
    X, y, X_new, _ = digits
    runs = []
    for disturbance in (1, 2):
        torch.manual_seed(disturbance)
        np.random.seed(disturbance)  # noqa: NPY002
        clf = SiameseClassifier(max_epochs=3, random_state=7, **params).fit(X, y)
        runs.append((clf.transform(X_new), clf.predict_proba(X_new)))
    for first, second in zip(*runs, strict=True):
        np.testing.assert_array_equal(first, second)


def test_other_seeds_give_other_models(digits):
    X, y, X_new, _ = digits
    Z = [
        SiameseEmbedder(max_epochs=1, random_state=s).fit(X, y).transform(X_new)
        for s in (0, 1, None, None)
    ]
    for i in range(4):
        for j in range(i):
            assert not np.array_equal(Z[i], Z[j])


@pytest.mark.parametrize("random_state", [None, 0])
def test_global_generators_are_left_alone(digits, random_state):
    X, y, X_new, y_new = digits
    before = generator_states()
    clf = SiameseClassifier(max_epochs=2, random_state=random_state)
    clf.fit(X, y).predict(X_new)
    clf.enroll(X_new, y_new).partial_fit(X, y)
    assert_unchanged(before)


def test_global_generators_are_left_alone_after_an_exception(digits):
    X, y, _, _ = digits

    class Fail(Callback):
        def on_batch_end(self, net, **kwargs):
            raise RuntimeError("as planned")

    before = generator_states()
    with pytest.raises(RuntimeError, match="as planned"):
        SiameseEmbedder(callbacks=[Fail()]).fit(X, y)
    assert_unchanged(before)


def test_random_state_instance_advances(digits):
    X, y, X_new, _ = digits
    shared = np.random.RandomState(0)  # noqa: NPY002
    first, second = (
        SiameseEmbedder(max_epochs=1, random_state=shared).fit(X, y).transform(X_new)
        for _ in range(2)
    )
    assert not np.array_equal(first, second)


def test_partial_fit_repeats(digits):
    X, y, X_new, _ = digits
    Z = []
    for _ in range(2):
        embedder = SiameseEmbedder(random_state=0)
        for _ in range(3):
            embedder.partial_fit(X, y)
        Z.append(embedder.transform(X_new))
    np.testing.assert_array_equal(*Z)


def test_settings_of_torch_are_left_alone(digits):
    X, y, _, _ = digits
    flags = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    SiameseEmbedder(max_epochs=1, precision="bfloat16").fit(X, y)
    assert flags == (
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert not torch.is_autocast_enabled("cpu")
    assert torch.get_num_threads() == 1
