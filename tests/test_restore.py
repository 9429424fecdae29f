"""What the caller gives is used where the file lacks it, and nowhere else."""

import numpy as np
import pytest
import torch

from sksiamese import SiameseClassifier, SiameseEmbedder
from sksiamese._persistence import _pack_own
from sksiamese._restore import Restorer

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 256, (24, 8, 8), dtype=np.uint8), np.arange(24) % 2


def double(images):
    return images * 2


def packed(estimator):
    return _pack_own(estimator)["siamese"]


def test_parameter_that_is_missing_is_taken_from_the_caller():
    restorer = Restorer({"augment": double})
    found = restorer.estimator(packed(SiameseEmbedder(augment=double)))
    assert found.augment is double
    restorer.check_used()


def test_parameter_that_is_there_is_not_replaced():
    restorer = Restorer({"augment": double})
    found = restorer.estimator(packed(SiameseEmbedder(augment="light")))
    assert found.augment == "light"
    with pytest.raises(ValueError, match="augment was given, but the file holds it"):
        restorer.check_used()


def test_folders_and_device_are_the_caller_s():
    given = {"device": "cpu", "cache_dir": "a", "checkpoint_dir": "b"}
    restorer = Restorer(given)
    found = restorer.estimator(packed(SiameseEmbedder(cache_dir="c")))
    assert given.items() <= found.get_params().items()
    restorer.check_used()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_head_of_other_embeddings_or_classes_is_refused():
    fitted = SiameseClassifier(max_epochs=1, embedding_dim=4, random_state=0).fit(X, Y)
    name, parts = packed(fitted)
    for wrong in (
        {"prototypes_": np.zeros((2, 3), np.float32)},
        {"prototypes_": np.zeros((2, 4))},
        {"prototypes_": np.full((2, 4), np.nan, np.float32)},
        {"labels_": np.arange(3)},
        {"classes_": np.array([0, 5])},
    ):
        with pytest.raises(ValueError, match="its head"):
            Restorer({}).estimator([name, {**parts, "head": parts["head"] | wrong}])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_network_for_images_of_another_shape_is_refused():
    fitted = SiameseEmbedder(max_epochs=1, random_state=0).fit(X, Y)
    name, parts = packed(fitted)
    parts["attributes"] = {**parts["attributes"], "image_shape_": (8, 8, 3)}
    with pytest.raises(ValueError, match="images of another shape"):
        Restorer({}).estimator([name, parts])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_stand_in_for_a_loss_refuses_to_train():
    class Loss(torch.nn.Module):
        def forward(self, embeddings, labels):
            return embeddings.var()

    fitted = SiameseEmbedder(loss=Loss(), max_epochs=1, random_state=0).fit(X, Y)
    found = Restorer({}).estimator(packed(fitted))
    assert np.array_equal(found.transform(X), fitted.transform(X))
    with pytest.raises(ValueError, match="loss was an object of your own"):
        found.net_.criterion_(torch.zeros(2, 2), torch.zeros(2))
