"""Votes, places and recall are those of slow, obvious readings."""

import numpy as np
import pytest

from sksiamese.search import Gallery
from sksiamese.search._lookup import _index_recall, _places, _vote, _without_self


def slow_vote(labels, distances):
    """Count the votes of one row after the other."""
    winners = []
    for row_labels, row_distances in zip(labels, distances, strict=True):
        votes = dict.fromkeys(sorted(set(row_labels)), 0.0)
        for label, distance in zip(row_labels, row_distances, strict=True):
            if (row_distances == 0).any():
                votes[label] += distance == 0
            else:
                votes[label] += 1 / distance
        winners.append(max(votes, key=votes.get))  # the first of equal ones
    return winners


@pytest.mark.parametrize("seed", range(5))
def test_votes_are_weighed_by_distance(seed):
    rng = np.random.default_rng(seed)
    distances = np.sort(rng.integers(0, 6, size=(50, 5)), axis=1).astype(np.float32)
    labels = rng.choice(["a", "b", "c"], size=(50, 5))
    found = _vote(labels.ravel(), distances)
    assert found.tolist() == slow_vote(labels.tolist(), distances)


def test_places_are_those_of_the_ids():
    ids = np.array(["d", "a", "c", "b"])
    found = np.array([["a", "d"], ["b", "c"]])
    np.testing.assert_array_equal(_places(ids, found), [[1, 0], [3, 2]])
    with pytest.raises(RuntimeError, match="Another process changed"):
        _places(ids, np.array([["e"]]))


def test_an_item_that_does_not_find_itself_loses_its_last_neighbour():
    rows = np.array([[0, 1, 2], [0, 1, 2], [0, 1, 3]])
    distances = np.array([[0, 1, 2], [0, 0, 2], [0, 0, 0]], np.float32)
    found = _without_self(distances, rows)
    np.testing.assert_array_equal(found[1], [[1, 2], [0, 2], [0, 1]])
    np.testing.assert_array_equal(found[0], [[1, 2], [0, 2], [0, 0]])


def test_recall_of_the_index_counts_by_distance():
    Z = np.array([[0.0], [1], [1], [3], [9]], np.float32)
    probes = np.array([[0.0], [9]], np.float32)
    assert _index_recall(np.array([[0, 1], [0, 6]]), probes, Z) == 1
    wrong = np.array([[0, 3], [6, 8]])
    for scale in (1e-6, 1, 1e6):  # of 0, 1 and 0, 6 the first are right
        Z_scaled, probes_scaled = (scale * a for a in (Z, probes))
        assert _index_recall(scale * wrong, probes_scaled, Z_scaled) == 0.5


def test_arguments_of_evaluate_are_named():
    gallery = Gallery(None)
    gallery.add(np.eye(3), metadata={"label": ["a", "b", "b"]})
    for kwargs, message in (
        ({"y": ["a"]}, "y"),
        ({"y": [1, 2]}, "y and label='label'"),
        ({"y": ["a", None]}, "y"),
        ({"y": ["a", "b"], "k": ()}, "k is empty"),
        ({"y": ["a", "b"], "k": 4}, "at most 3"),
    ):
        with pytest.raises(ValueError, match=message):
            gallery.evaluate(np.eye(3)[:2], **{"k": 1, **kwargs})
    with pytest.raises(ValueError, match="each item has 2 others"):
        gallery.kneighbors(n_neighbors=3)


def test_recall_of_an_approximate_index_is_told():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(20_000, 32)).astype(np.float32)
    gallery = Gallery(None, index="ivfpq", memory_budget=1)
    gallery.add(Z, metadata={"label": rng.integers(0, 2, size=20_000)})
    judged = gallery.evaluate(rng.normal(size=(50, 32)), np.zeros(50, int), k=10)
    assert 0.05 < judged["index_recall"] < 1
    assert judged["recall_at_10"] > 0.9


def test_filtered_neighbours_of_an_approximate_index_match_and_are_enough():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(12_000, 8)).astype(np.float32)
    part = np.arange(12_000) % 500
    for index in ("flat", "hnsw", "ivfpq"):
        gallery = Gallery(None, index=index, memory_budget=1)
        gallery.add(Z, metadata={"part": part})
        for where in ({"part": 7}, {"part": {"$ne": 7}}, {"part": {"$lt": 250}}):
            found = gallery.search(Z[:20], 10, where, return_metadata=True)
            assert all(
                item["part"] == 7
                if where["part"] == 7
                else item["part"] != 7
                if "$ne" in where["part"]
                else item["part"] < 250
                for items in found[2]
                for item in items
            )
            assert len({tuple(row) for row in found[1]}) > 1
