"""How the estimators train: what trains, how often, and what is recorded."""

import numpy as np
import pytest
from sklearn.base import clone
from skorch.callbacks import Callback

from sksiamese import SiameseEmbedder


def fast(**params):
    return SiameseEmbedder(**{"max_epochs": 2, "random_state": 0, **params})


def test_training_reads_nothing_but_the_training_images(digits):
    """Held-out images decide no weight: other ones in their place change nothing."""
    X, y, X_new, _ = digits
    embedder = fast()
    rows = {}
    original = embedder._train

    def spy(X, codes, train, held_out, *rest):
        rows["held_out"] = held_out
        return original(X, codes, train, held_out, *rest)

    embedder._train = spy
    expected = embedder.fit(X, y).transform(X_new)
    spoiled = X.copy()
    spoiled[rows["held_out"]] = 255 - spoiled[rows["held_out"]]
    del embedder._train
    Z = clone(embedder).fit(spoiled, y).transform(X_new)
    np.testing.assert_array_equal(Z, expected)


def test_history_has_one_value_per_epoch(digits):
    X, y, _, _ = digits
    embedder = fast(max_epochs=6).fit(X, y)
    assert embedder.n_iter_ == 6
    names = {"loss", "positive_distance", "negative_distance", "validation_score"}
    assert names <= set(embedder.history_)
    assert all(len(values) == 6 for values in embedder.history_.values())
    history = embedder.history_
    assert history["loss"][-1] < history["loss"][0]
    assert history["positive_distance"][-1] < history["negative_distance"][-1]
    assert 0.9 < history["validation_score"][-1] <= 1


def test_max_epochs_auto_shows_few_images_more_often(digits):
    X, y, _, _ = digits
    few = SiameseEmbedder(random_state=0, batch_size=20).fit(X[:20], y[:20] % 2)
    assert few.n_iter_ > 100
    assert SiameseEmbedder()._count_epochs(60_000) < 15


def test_few_images_are_shown_as_often_as_documented(digits):
    X, y, _, _ = digits
    seen = []

    class Count(Callback):
        def on_batch_end(self, net, batch=None, **kwargs):
            seen.append(len(batch[0]))

        def __deepcopy__(self, memo):
            return self

    SiameseEmbedder(random_state=0, callbacks=[Count()]).fit(X[:20], y[:20] % 2)
    assert 40_000 <= sum(seen) <= 42_000


def test_warm_start_on_the_same_data_keeps_the_split(digits):
    """Else images that trained in the first fit would be held out in the second."""
    X, y, _, _ = digits
    embedder = fast(warm_start=True, random_state=None, max_epochs=1)
    splits, original = [], embedder._train

    def spy(X, codes, train, held_out, *rest):
        splits.append(held_out)
        return original(X, codes, train, held_out, *rest)

    embedder._train = spy
    embedder.fit(X, y).fit(X, y)
    assert len(splits[0]) == 90
    np.testing.assert_array_equal(*splits)


@pytest.mark.parametrize("between", ["other data", "partial_fit"])
def test_warm_start_after_other_images_holds_none_out(digits, between):
    X, y, X_new, y_new = digits
    embedder = fast(warm_start=True, max_epochs=1).fit(X, y)
    if between == "partial_fit":
        embedder.partial_fit(X, y).fit(X, y)
    else:
        embedder.fit(X_new, y_new)
    assert np.isnan(embedder.history_["validation_score"]).all()
    with pytest.raises(ValueError, match="early_stopping=True.*warm_start"):
        embedder.set_params(early_stopping=True).fit(X[:500], y[:500])
