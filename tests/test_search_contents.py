"""What is in a gallery after many changes, against a plain dictionary."""

import numpy as np
import pytest

from sksiamese.search import Gallery

DIM = 3


class Oracle:
    """Items as a dictionary: id to embedding and metadata."""

    def __init__(self):
        self.items, self.largest = {}, -1

    def add(self, embeddings, metadata, ids=None):
        if ids is None:
            ids = [self.largest + 1 + k for k in range(len(embeddings))]
        self.largest = max(self.largest, *ids)
        self.items |= dict(
            zip(ids, map(list, zip(embeddings, metadata, strict=True)), strict=True)
        )
        return ids


def change(gallery, oracle, rng):
    """Make one change of a random kind, the same in both."""
    n = int(rng.integers(1, 5))
    new = rng.normal(size=(n, DIM)).astype(np.float32)
    metadata = [{"n": int(value)} for value in rng.integers(100, size=n)]
    known = rng.permutation(list(oracle.items))[:n].tolist()
    kind = rng.choice(["count on", "give ids", "images", "metadata", "remove", "all"])
    if kind == "count on" or len(known) < n:
        assert gallery.add(new, metadata=metadata).tolist() == oracle.add(new, metadata)
    elif kind == "give ids":
        ids = (oracle.largest + 1 + rng.permutation(3 * n)[:n]).tolist()
        gallery.add(new, ids, metadata)
        oracle.add(new, metadata, ids)
    elif kind == "images":
        gallery.update(known, new)
        for one, embedding in zip(known, new, strict=True):
            oracle.items[one][0] = embedding
    elif kind == "metadata":
        gallery.update(known, metadata=metadata)
        for one, entry in zip(known, metadata, strict=True):
            oracle.items[one][1] = entry
    elif kind == "remove":
        gallery.remove(known)
        for one in known:
            del oracle.items[one]
    else:
        ids = rng.permutation(list(oracle.items)).tolist()
        anew = rng.normal(size=(len(ids), DIM)).astype(np.float32)
        gallery.rebuild(anew, ids)
        for one, embedding in zip(ids, anew, strict=True):
            oracle.items[one][0] = embedding


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("in_file", [False, True])
def test_contents_after_random_changes_are_those_of_a_dictionary(
    in_file, seed, tmp_path
):
    rng, oracle = np.random.default_rng(seed), Oracle()
    place = tmp_path / "new.gallery" if in_file else "memory"
    gallery = Gallery(None, place)
    for step in range(60):
        change(gallery, oracle, rng)
        if in_file and step % 10 == 9:  # what is read again is the same
            gallery.close()
            gallery = Gallery(None, place)
        ids = list(oracle.items)
        assert gallery.ids.tolist() == ids and len(gallery) == len(ids)
        assert all(one in gallery for one in ids)
        assert oracle.largest + 1 not in gallery
        if ids:
            embeddings, metadata = gallery.get(ids)
            expected = [embedding for embedding, _ in oracle.items.values()]
            np.testing.assert_array_equal(embeddings, expected)
            assert metadata == [entry for _, entry in oracle.items.values()]


@pytest.mark.parametrize(
    "call",
    [
        lambda gallery: gallery.get([0, 9]),
        lambda gallery: gallery.remove([0, 9]),
        lambda gallery: gallery.update([0, 9], metadata=[{}, {}]),
        lambda gallery: gallery.rebuild(np.zeros((3, DIM)), [0, 1, 9]),
    ],
    ids=["get", "remove", "update", "rebuild"],
)
def test_unknown_id_is_named_and_nothing_changes(call):
    gallery = Gallery(None)
    gallery.add(np.eye(DIM), metadata={"n": [0, 1, 2]})
    with pytest.raises(KeyError, match="9"):
        call(gallery)
    embeddings, metadata = gallery.get([0, 1, 2])
    np.testing.assert_array_equal(embeddings, np.eye(DIM))
    assert metadata == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_get_of_no_ids_is_an_error():
    with pytest.raises(ValueError, match="ids is empty"):
        Gallery(None).get([])
