"""The benchmarks' own machinery; what they measure is not tested here."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from sksiamese.datasets import fetch_images
from tests._contestants import broken, counting, steady, tiring
from tests.benchmarks import _contest, training, verification


def test_contest_plays_rounds_after_a_warm_up():
    figures = _contest.run_contest(
        {"steady": (steady, 4.0), "counting": (counting, 10)}, 3
    )
    assert figures == {"steady": [4.0] * 3, "counting": [12, 13, 14]}
    relative = _contest.ratios(figures, "steady")
    assert relative["counting"] == [3.0, 3.25, 3.5]
    assert _contest.spread(relative["counting"], 2) == "3.25 (3.00 - 3.50)"


def test_error_of_a_contestant_reaches_the_caller():
    with pytest.raises(RuntimeError, match="cannot be built"):
        _contest.run_contest({"healthy": (steady, 1.0), "broken": (broken,)}, 1)
    assert not multiprocessing.active_children()


def test_error_in_a_round_ends_the_other_contestants():
    with pytest.raises(StopIteration):
        _contest.run_contest({"healthy": (steady, 1.0), "tiring": (tiring,)}, 1)
    assert not multiprocessing.active_children()


def test_contestants_train_on_the_same_images(monkeypatch):
    images, labels = _contest.read_images("synthetic")
    monkeypatch.setattr(training, "read_images", lambda _: (images[:64], labels[:64]))
    monkeypatch.setattr(training, "BATCH", 32)
    for build in (training.pair_loader, training.plain_skorch):
        assert build("synthetic")() > 0
    loader, step = training.pair_loader_parts(
        images[:40], labels[:40], training.UnitNet((3, 64, 64))
    )
    assert sum(step(*batch) for batch in loader) == 2 * 80  # a pair is two images


def test_accepted_share_counts_pairs_of_one_kind_by_weight():
    same = np.array([True, True, False, False, False])
    accepted = np.array([1.0, 0.0, 1.0, 0.0, 0.0])
    assert verification.accepted_share(same, accepted) == pytest.approx(1 / 3)
    assert verification.accepted_share(same, accepted, kind=True) == 0.5
    weight = np.array([1, 1, 2, 1, 0])
    share = verification.accepted_share(same, accepted, sample_weight=weight)
    assert share == pytest.approx(2 / 3)


def test_one_shot_runs_are_the_published_images():
    path = Path(os.environ.get("SKSIAMESE_DATA", ""), "omniglot_oneshot_runs.npz")
    if not path.exists():
        pytest.skip("the published runs are in the folder that SKSIAMESE_DATA names")
    data = fetch_images("omniglot", download=False)
    new = data.split == "evaluation"
    support, query, answer = verification.read_runs(data, new)
    images, runs = data.images[new], np.load(path)
    for rows, part in ((support, "train"), (query, "test")):
        ink = np.unpackbits(runs[f"{part}_packed"], axis=2, count=105 * 105)
        published = 255 * (1 - ink.reshape(20, 20, 105, 105))
        assert np.array_equal(images[rows], published)
    classes = data.target[new]
    right = np.take_along_axis(classes[support], answer, axis=1)
    assert np.array_equal(right, classes[query])
    # Embeddings that know the class find every answer.
    exact = np.eye(classes.max() + 1, dtype=np.float32)[classes]
    with pytest.warns(UserWarning, match="All resamples"):
        assert verification.judge_runs((support, query, answer), exact).estimate == 1
