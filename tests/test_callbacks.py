"""Callbacks: which there are, and that they end as they should."""

import numpy as np
import pytest
from skorch.callbacks import EarlyStopping

from sksiamese import SiameseEmbedder
from sksiamese._callbacks import make_callbacks

PARAMS = SiameseEmbedder().get_params()


def names(validation=None, **params):
    built = make_callbacks({**PARAMS, **params}, 3, 12, validation)
    return [item[0] for item in built if isinstance(item, tuple)]


def test_callbacks_follow_the_parameters():
    assert names() == ["siamese_lr_schedule"]
    assert names(lr_schedule="constant") == []
    assert names(validation=([], []), verbose=1, early_stopping=True) == [
        "siamese_validation_score",
        "siamese_early_stopping",
        "siamese_lr_schedule",
        "siamese_progress",
    ]


def test_callbacks_of_the_caller_come_last_and_are_copies():
    own = EarlyStopping()
    built = make_callbacks({**PARAMS, "callbacks": [own]}, 3, 12, None)
    assert type(built[-1]) is EarlyStopping
    assert built[-1] is not own


def test_callback_of_the_caller_may_be_named_progress(digits):
    X, y, _, _ = digits
    own = [("progress", EarlyStopping("train_loss", sink=str))]
    SiameseEmbedder(max_epochs=1, verbose=1, callbacks=own).fit(X, y)


def test_progress_bar_closes_when_training_fails(digits, capsys):
    X, y, _, _ = digits
    embedder = SiameseEmbedder(
        lr=1e30, lr_schedule="constant", normalize=False, verbose=1, random_state=0
    )
    with pytest.raises(ValueError, match="lower lr"):
        embedder.fit(X, y)
    assert capsys.readouterr().err.endswith("\n")


def test_held_out_embeddings_that_overflow_are_told_with_epoch_and_rate():
    """Training batches are normalised; the statistics kept for others overflow."""
    X = np.random.default_rng(0).normal(size=(60, 16, 16)).astype(np.float32)
    params = {"max_epochs": 3, "lr": 1e12, "lr_schedule": "constant", "random_state": 0}
    message = r"by the end of epoch 1, at a learning rate of 1e\+12: lower lr"
    with pytest.raises(ValueError, match=message):
        SiameseEmbedder(**params).fit(X, np.arange(60) % 3)
