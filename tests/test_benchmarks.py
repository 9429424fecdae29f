"""The benchmarks' own machinery; what they measure is not tested here."""

import multiprocessing

import pytest

from tests.benchmarks import _contest, training


def steady(figure):
    """Contestant that always plays the same figure."""
    return lambda: figure


def counting(first):
    """Contestant that counts its rounds."""
    state = {"rounds": first}

    def play():
        state["rounds"] += 1
        return state["rounds"]

    return play


def broken():
    raise RuntimeError("cannot be built")


def tiring():
    """Contestant that gives up after its warm-up."""
    rounds = iter([1.0])
    return lambda: next(rounds)


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
