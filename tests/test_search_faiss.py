"""What graphs and lists share: rows that are not the numbers of FAISS, and files."""

import sys

import numpy as np
import pytest

from sksiamese.search._archive import ArchiveReader, ArchiveWriter
from sksiamese.search._faiss import read_index, require_faiss, write_index
from sksiamese.search._faiss_compressed import CompressedVectors
from sksiamese.search._faiss_graph import GraphVectors

faiss = pytest.importorskip("faiss", reason="FAISS is not installed")


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).standard_normal((1600, 8)).astype(np.float32)


@pytest.mark.parametrize("made", [GraphVectors, CompressedVectors])
def test_dropped_rows_are_cleared_out_when_they_are_a_fifth(vectors, made):
    held = made.build(8, [vectors])
    before = held.vectors().copy()
    held.keep(np.arange(1600) >= 300)
    assert held._index.ntotal == 1600  # dead, but still inside
    np.testing.assert_array_equal(held.vectors(), before[300:])
    held.keep(np.arange(1300) >= 100)
    assert held._index.ntotal == len(held) == 1200
    np.testing.assert_array_equal(held.vectors(), before[400:])
    assert held.search(before[400:], 1200)[1].max() == 1199


def test_missing_faiss_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"sksiamese\[search\]"):
        require_faiss()


def test_an_index_goes_through_a_file_if_it_is_the_one_expected(vectors, tmp_path):
    index = faiss.IndexFlatL2(8)
    index.add(vectors)
    with ArchiveWriter(tmp_path / "x") as archive:
        write_index(index, archive, 0)
    with ArchiveReader(tmp_path / "x") as archive:
        again = read_index(archive, faiss.IndexFlatL2, 8, 1600)
        np.testing.assert_array_equal(again.reconstruct_n(0, 1600), vectors)
        for kind, dim, n in (
            (faiss.IndexHNSWFlat, 8, 1600),
            (faiss.IndexFlatL2, 9, 1600),
            (faiss.IndexFlatL2, 8, 1599),
        ):
            with pytest.raises(ValueError, match="does not belong"):
                read_index(archive, kind, dim, n)
