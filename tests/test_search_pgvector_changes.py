"""Items arrive in the table as they were given, in pieces of any size."""

import numpy as np
import pytest

import sksiamese.search._pgvector_changes as module
from sksiamese.search._pgvector import PostgresStore

EXTREMES = np.array(
    [[0, -0.0, 1e-45, 3.4e38], [-3.4e38, 1e-38, np.pi, 1 / 3], [1, 2, 3, 4]],
    dtype=np.float32,
)


@pytest.mark.parametrize("rows", [1, 2, 4096])
@pytest.mark.parametrize("kind", ["int", "str"])
def test_items_come_back_as_they_were_added_and_updated(
    postgres, monkeypatch, rows, kind
):
    monkeypatch.setattr(module, "ROWS", rows)
    store = PostgresStore(postgres, f"changes {rows} {kind}", "euclidean", "auto")
    ids = [2**63 - 1, -(2**63), 0] if kind == "int" else ["é" * 500, " a ", "a"]
    metadata = [{"": None, "é": [1, {"a": 1.5}]}, {}, {"x" * 5000: "y" * 50_000}]
    sent = []
    store.add(EXTREMES, ids, kind, metadata, "f", sent.append)
    assert sum(sent) == 3 and store.all_ids().tolist() == ids
    embeddings, found = store.fetch(ids)
    assert embeddings.dtype == np.float32 and found == metadata
    np.testing.assert_array_equal(embeddings.view(np.int32), EXTREMES.view(np.int32))
    store.update(ids[::-1], EXTREMES, metadata, "f")
    embeddings, found = store.fetch(ids[::-1])
    np.testing.assert_array_equal(embeddings, EXTREMES)
    assert found == metadata and store.all_ids().tolist() == ids
    store.rebuild(EXTREMES[:, :2].copy(), ids, "g")
    np.testing.assert_array_equal(store.fetch(ids)[0], EXTREMES[:, :2])
    store.remove(ids[1:])
    assert store.all_ids().tolist() == ids[:1] and len(store) == 1
    store.close()
