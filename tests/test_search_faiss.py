"""What graphs and lists share: rows that are not the numbers of FAISS, and files."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import numpy as np
import pytest

from sksiamese._archive import ArchiveReader, ArchiveWriter
from sksiamese.search._faiss import draw, read_index, require_faiss, write_index
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
    with ArchiveWriter(tmp_path / "x", "gallery") as archive:
        write_index(index, archive, 0)
    with ArchiveReader(tmp_path / "x", "gallery") as archive:
        again = read_index(archive, faiss.IndexFlatL2, 8, 1600)
        np.testing.assert_array_equal(again.reconstruct_n(0, 1600), vectors)
        for kind, dim, n in (
            (faiss.IndexHNSWFlat, 8, 1600),
            (faiss.IndexFlatL2, 9, 1600),
            (faiss.IndexFlatL2, 8, 1599),
        ):
            with pytest.raises(ValueError, match="does not belong"):
                read_index(archive, kind, dim, n)


CHANGES = {
    "add": lambda held, new: held.add(new),
    "replace": lambda held, new: held.replace(np.arange(len(new)), new),
    "keep": lambda held, new: held.keep(np.arange(len(held)) >= 700),
}


def stopped_by(held, change, new, where, monkeypatch):
    """Change and fail in one step of it, after it is done."""
    real = getattr(held, where)

    def fail(*args):
        real(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(type(held), where, lambda self, *args: fail(*args))
    with pytest.raises(KeyboardInterrupt):
        CHANGES[change](held, new)
    monkeypatch.undo()


def answers(held, queries):
    numbers = held._allowed_numbers(None)
    state = len(held), held.exact, held._effort, held._floor
    return [held.vectors(), *held._search_fully(queries, 5, numbers), *state]


@pytest.mark.parametrize("made", [GraphVectors, CompressedVectors])
@pytest.mark.parametrize(
    ("change", "where"),
    [(change, "_insert") for change in ("add", "replace")]
    + [(change, "_check") for change in ("add", "replace")]
    + [(change, "_clear_out") for change in ("keep", "replace")]
    + [(change, "_tune") for change in ("add", "keep", "replace")],
)
def test_change_that_fails_leaves_all_as_it_was(
    vectors, made, change, where, monkeypatch, tmp_path
):
    held = made.build(8, [vectors[:500], vectors[500:800]])
    held.keep(np.arange(800) != 7)
    before = answers(held, vectors[:50])
    new = vectors[800:1300] if change == "add" else vectors[800:1100]
    stopped_by(held, change, new, where, monkeypatch)
    for one, other in zip(answers(held, vectors[:50]), before, strict=True):
        np.testing.assert_array_equal(one, other)
    # What follows goes right, and through a file.
    held.add(vectors[1300:1400])
    queries = held.vectors(np.arange(799, 899))
    assert np.mean(held.search(queries, 1)[1][:, 0] == np.arange(799, 899)) > 0.9
    with ArchiveWriter(tmp_path / "x", "gallery") as archive:
        held.save_index(archive)
    with ArchiveReader(tmp_path / "x", "gallery") as archive:
        if made is GraphVectors:
            again = made.load_index(archive, held.vectors())
        else:
            again = made.load_index(archive, 8, len(held))
    for one, other in zip(
        held.search(queries, 3), again.search(queries, 3), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def ctrl_c():
    # Where tests run in the background, the shell may have switched it off.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("change", list(CHANGES))
@pytest.mark.parametrize("delay", [0.02, 0.2])
def test_ctrl_c_while_the_graph_changes_leaves_it_as_it_was(change, delay, ctrl_c):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3000, 24)).astype(np.float32)
    held = GraphVectors.build(24, [vectors])
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    interrupted = False
    with suppress(KeyboardInterrupt):
        timer.start()
        interrupted = True
        CHANGES[change](held, rng.standard_normal((2900, 24)).astype(np.float32))
        interrupted = False
        while True:  # it was quicker
            time.sleep(0.01)
    if not interrupted:
        return  # the machine is quick, and the change whole
    np.testing.assert_array_equal(held.vectors(), vectors)
    rows = held.search(vectors[:500] + np.float32(0.001), 1)[1][:, 0]
    assert np.mean(rows == np.arange(500)) > 0.97
    new = vectors[:300] + np.float32(4)
    held.add(new)
    np.testing.assert_array_equal(held.vectors(np.arange(3000, 3300)), new)
    assert np.mean(held.search(new, 1)[1][:, 0] == np.arange(3000, 3300)) > 0.97


def test_indices_work_beside_the_torch_interface_of_faiss(vectors):
    # It replaces methods of all indices, and pytorch-metric-learning imports it.
    program = (
        "import sys, numpy as np, faiss.contrib.torch_utils\n"
        "from sksiamese.search import Gallery\n"
        "Z = np.random.default_rng(0).normal(size=(12_000, 8)).astype('f4')\n"
        "for index in ('flat', 'hnsw', 'ivfpq'):\n"
        "    gallery = Gallery(None, index=index, memory_budget=1)\n"
        "    gallery.add(Z, metadata={'n': range(12_000)})\n"
        "    gallery.remove([5]).update([6], Z[6:7])\n"
        "    for k, where in ((1, None), (40, None), (9, {'n': {'$gt': 99}})):\n"
        "        gallery.search(Z[:300], k, where)\n"
        "    found = gallery.evaluate(Z[:1500], np.zeros(1500), k=1, label='n')\n"
        "    print(found and index)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert run.stdout.split() == ["flat", "hnsw", "ivfpq"], run.stderr


def test_an_index_that_does_not_fit_its_rows_is_not_saved(vectors, tmp_path):
    held = CompressedVectors.build(8, [vectors])
    held._index.add(vectors[:3])
    with (
        pytest.raises(RuntimeError, match="not saved"),
        ArchiveWriter(tmp_path / "x", "gallery") as archive,
    ):
        held.save_index(archive)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("n", [1, 7, 29, 30, 31])
def test_draw_takes_rows_of_all_parts_in_order(n):
    whole = np.arange(60).reshape(30, 2)
    drawn = draw([whole[:11], whole[11:11], whole[11:]], n)
    assert len(drawn) == min(n, 30)
    assert np.all(np.diff(drawn[:, 0]) > 0) and np.all(np.isin(drawn[:, 0], whole))
    np.testing.assert_array_equal(drawn, draw([whole], n))
