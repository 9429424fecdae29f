"""BaseSiamese: what the estimators share; no parameter is ignored."""

import numpy as np
import pytest
import torch

from sksiamese import SiameseClassifier, SiameseEmbedder
from sksiamese._base import BaseSiamese

# For each parameter a value whose effect on the fitted embedding can be measured.
CHANGES = {
    "augment": None,
    "augment_minority": 3.0,
    "backbone": "mlp",
    "batch_size": 40,
    "class_weight": {0: 5.0},
    "classes_per_batch": 3,
    "embedding_dim": 5,
    "image_size": 12,
    "loss": "triplet",
    "lr": 1e-4,
    "lr_schedule": "constant",
    "margin": 0.3,
    "max_epochs": 3,
    "mining": "hard",
    "net_params": {"optimizer": torch.optim.SGD},
    "normalize": False,
    "pair_budget": "natural",
    "precision": "bfloat16",
    "random_state": 1,
    "trainable": "head",
    "validation_fraction": 0.3,
    "weight_decay": 0.5,
}
# These act elsewhere: tested with what they do, named here so that none is forgotten.
TESTED_ELSEWHERE = {
    "cache_dir": "test_file_input.test_fit_on_files_equals_fit_on_their_pixels",
    "callbacks": "test_embedder.test_callbacks_are_copied",
    "checkpoint_dir": "test_checkpoint",
    "device": "test_device, and test_gpu where there is one",
    "early_stopping": "test_embedder.test_early_stopping_restores_the_best_epoch",
    "image_shape": "test_embedder.test_images_and_flattened_rows_...",
    "n_iter_no_change": "test_embedder.test_early_stopping_restores_the_best_epoch",
    "n_jobs": "test_reading.test_read_files_keeps_order_and_repetitions",
    "verbose": "test_embedder.test_verbose_shows_a_progress_bar_...",
    "warm_start": "test_embedder.test_warm_start_goes_on_...",
    "weights": "test_weights",
}


def fast(**params):
    params = {"max_epochs": 2, "random_state": 0, "precision": "float32", **params}
    return SiameseEmbedder(**params)


def test_every_parameter_is_tried():
    assert set(CHANGES) | set(TESTED_ELSEWHERE) == set(SiameseEmbedder().get_params())
    assert not set(CHANGES) & set(TESTED_ELSEWHERE)


@pytest.mark.parametrize("name", CHANGES)
def test_parameter_is_not_ignored(digits, name):
    X, y, X_new, _ = digits
    plain = fast().fit(X[:300], y[:300]).transform(X_new)
    changed = fast(**{name: CHANGES[name]}).fit(X[:300], y[:300]).transform(X_new)
    assert not np.array_equal(plain, changed)


@pytest.mark.parametrize("estimator", [SiameseClassifier, SiameseEmbedder])
def test_constructor_only_assigns(estimator):
    sentinels = {name: object() for name in estimator().get_params()}
    built = estimator(**sentinels)
    assert vars(built) == sentinels


@pytest.mark.parametrize("estimator", [SiameseClassifier, SiameseEmbedder])
def test_all_but_the_backbone_are_keyword_only(estimator):
    assert estimator("mlp").backbone == "mlp"
    with pytest.raises(TypeError):
        estimator("mlp", None)


def test_constraints_cover_every_parameter():
    for estimator in (SiameseClassifier, SiameseEmbedder):
        assert set(estimator._parameter_constraints) == set(estimator().get_params())


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "int16", "int64", "float32", "float64", ">u2", ">f4"]
)
def test_images_of_any_dtype_give_nearly_the_same(digits, dtype):
    X, y, X_new, _ = digits
    # Which negatives are semi-hard can hang on the last digit.
    expected = fast(mining="all").fit(X, y).transform(X_new)
    Z = fast(mining="all").fit(X.astype(dtype), y).transform(X_new.astype(dtype))
    np.testing.assert_allclose(Z, expected, atol=1e-4)


def test_boolean_images_are_taken(digits):
    X, y, X_new, _ = digits
    ink = fast().fit(X > 7, y).transform(X_new > 7)
    same = fast().fit((X > 7).astype(float), y).transform((X_new > 7).astype(float))
    np.testing.assert_allclose(ink, same, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-3, 1, 1e4])
def test_scale_and_offset_of_the_images_do_not_matter(digits, scale):
    X, y, X_new, _ = digits
    expected = fast().fit(X, y).transform(X_new)
    Z = fast().fit(X * scale + 5 * scale, y).transform(X_new * scale + 5 * scale)
    # Training carries the rounding of the standardised pixels along.
    np.testing.assert_allclose(Z, expected, atol=1e-2)


def test_embedding_of_an_image_does_not_depend_on_its_neighbours(digits):
    X, y, X_new, _ = digits
    embedder = fast().fit(X, y)
    together = embedder.transform(X_new)
    alone = np.concatenate([embedder.transform(X_new[k : k + 1]) for k in range(20)])
    np.testing.assert_allclose(alone, together[:20], atol=2e-6)
    shuffled = np.random.default_rng(0).permutation(len(X_new))
    np.testing.assert_allclose(
        embedder.transform(X_new[shuffled]), together[shuffled], atol=2e-6
    )


def test_bfloat16_serves_training_only(digits):
    X, y, X_new, _ = digits
    embedder = fast(precision="bfloat16").fit(X, y)
    assert embedder.net_.bfloat16
    Z = embedder.transform(X_new)
    module = embedder.net_.module_
    with torch.no_grad():
        exact = module.double()(torch.from_numpy(X_new.copy())).numpy()
    np.testing.assert_allclose(Z, exact, atol=1e-3)


def test_base_is_not_public():
    import sksiamese

    assert not hasattr(sksiamese, BaseSiamese.__name__)
