"""Class-balanced batches counted image by image, and data that is not copied."""

import math
import tracemalloc
import warnings
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from sksiamese._batches import (
    Batches,
    BudgetedBatches,
    ClassBalancedBatches,
    ResidentData,
    chunk_length,
    make_batches,
    share_batch,
)

DTYPES = ["u1", "u2", "i8", "f2", "f4", "f8", ">f4", ">f8", ">u2", ">i4", "?"]


def sampler(labels, batch_size, classes_per_batch="auto", seed=0):
    rng = np.random.default_rng(seed)
    return ClassBalancedBatches(
        np.asarray(labels), batch_size, classes_per_batch, random_state=rng
    )


def draw(labels, *args, n_epochs=1, **kwargs):
    """Rows of each batch of some epochs, as lists."""
    batches = sampler(labels, *args, **kwargs)
    return [rows.tolist() for _ in range(n_epochs) for rows in batches]


def chunks(cards, size):
    """Whole consecutive chunks."""
    return [cards[i : i + size] for i in range(0, len(cards) - size + 1, size)]


def shuffled_labels(*counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(9).permutation(labels)


@pytest.mark.parametrize(
    ("counts", "batch_size", "n_classes", "n_images"),
    [
        ([50, 50, 50], 32, "auto", 10),
        ([20] * 30, 32, "auto", 4),
        ([11, 40, 13, 200], 20, 2, 10),
        ([9, 40, 13, 200], 20, 3, 6),
        ([4, 4, 4], 64, 10, 4),
        ([30, 30], 2, 2, 1),
    ],
)
def test_batches_are_p_classes_of_k_images(counts, batch_size, n_classes, n_images):
    labels = shuffled_labels(*counts)
    batches = sampler(labels, batch_size, n_classes)
    wanted = max(2, batch_size // 4) if n_classes == "auto" else n_classes
    assert batches.n_classes_ == min(wanted, len(counts))
    assert batches.n_images_ == n_images
    for rows in list(batches) + list(batches):
        assert rows.dtype == np.int64
        found = Counter(labels[rows].tolist())
        assert list(found.values()) == [n_images] * batches.n_classes_


@pytest.mark.parametrize(("n", "batch_size"), [(60, 12), (61, 12), (100, 32)])
def test_batches_of_a_pass_are_as_many_as_a_shuffled_pass_has(n, batch_size):
    batches = sampler(np.arange(n) % 3, batch_size)
    assert len(batches) == math.ceil(n / (batch_size // 3 * 3))
    assert len(list(batches)) == len(batches)


@pytest.mark.parametrize("size", [3, 5, 8, 13])
@pytest.mark.parametrize("n_images", [2, 4, 7])
def test_batches_use_a_class_up_before_repeating(size, n_images):
    labels = shuffled_labels(size, size, 40)
    batches = draw(labels, 3 * n_images, n_epochs=6)
    for c in range(3):
        cards = [row for rows in batches for row in rows if labels[row] == c]
        own = np.flatnonzero(labels == c).tolist()
        for part in chunks(cards, len(own)):
            assert sorted(part) == own


def test_batches_classes_take_turns():
    labels = shuffled_labels(*[10] * 7)
    batches = draw(labels, 12, 3, n_epochs=5)
    turns = [labels[row] for rows in batches for row in rows[::4]]
    for part in chunks(turns, 7):
        assert sorted(part) == list(range(7))


@pytest.mark.parametrize("size", [4, 5, 6, 7, 11])
def test_batches_have_no_duplicates_where_a_class_has_enough(size):
    for rows in draw(shuffled_labels(*[size] * 6), 12, 3, n_epochs=10):
        assert len(set(rows)) == len(rows)


def test_batches_of_one_pass_cover_balanced_classes_once():
    rows = sum(draw(shuffled_labels(40, 40, 40), 24), [])
    assert sorted(rows) == list(range(120))


@pytest.mark.parametrize("counts", [[7, 90], [1, 50, 50], [1, 1, 3, 200], [2] * 40])
def test_batches_of_many_passes_cover_every_image(counts):
    labels = shuffled_labels(*counts)
    rows = sum(draw(labels, 16, n_epochs=60), [])
    assert sorted(set(rows)) == list(range(len(labels)))


def test_batches_single_image_among_many_classes_joins_in_time():
    """One class of 30 has one image; its share of four classes is below one."""
    labels = shuffled_labels(1, *[6] * 29)
    rows = sum(draw(labels, 16, 4, n_epochs=60), [])
    assert sorted(set(rows)) == list(range(len(labels)))


def test_batches_hold_all_of_a_class_smaller_than_k():
    """At 1 to 56; no image stands in a batch twice, to be paired with itself."""
    labels = shuffled_labels(10, 560)
    for rows in draw(labels, 32, n_epochs=2):
        assert Counter(labels[rows].tolist()) == {0: 10, 1: 16}
        assert len(set(rows)) == len(rows)


def test_batches_are_fresh_in_every_pass():
    batches = sampler(shuffled_labels(20, 20), 8)
    passes = [np.concatenate(list(batches)).tolist() for _ in range(4)]
    assert all(a != b for a, b in pairwise(passes))


def test_batches_equal_seeds_give_equal_rows():
    labels = shuffled_labels(20, 30, 1, 1)
    first, again, other = (draw(labels, 8, n_epochs=2, seed=s) for s in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("paired", "n_single", "classes_per_batch"),
    [(1, 1, 2), (2, 100, 10), (10, 100, 10), (30, 3, "auto"), (3, 40, "auto")],
)
def test_batches_single_images_join_once_and_are_no_majority(
    paired, n_single, classes_per_batch
):
    labels = shuffled_labels(*[5] * paired, *[1] * n_single)
    for rows in draw(labels, 40, classes_per_batch, n_epochs=5):
        counts = Counter(labels[rows].tolist())
        singles = [count for c, count in counts.items() if c >= paired]
        assert set(singles) <= {1}
        assert len(singles) <= len(counts) / 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_rows", [False, True])
def test_data_of_any_type_gives_its_values(dtype, with_rows):
    X = (np.arange(60).reshape(10, 3, 2) % 7).astype(dtype)
    used = np.array([9, 1, 4, 4, 0]) if with_rows else None
    data = ResidentData(X, np.arange(10) * 2, rows=used)
    own = used if with_rows else np.arange(10)
    assert len(data) == len(own)
    assert data.sample_values == 6
    for rows in (slice(1, 4), slice(3, 99), np.array([2, 0, 2])):
        x, labels = data.take(rows)
        assert x.numpy().dtype == X.dtype.newbyteorder("=")
        np.testing.assert_array_equal(x.numpy(), X[own[rows]])
        assert labels.dtype == torch.int64
        np.testing.assert_array_equal(labels.numpy(), 2 * own[rows])


def test_data_labels_are_those_of_its_rows():
    y = np.array([3, 1, 4, 1, 5])
    data = ResidentData(np.zeros((5, 2)), y, rows=np.array([4, 0]))
    assert data.labels.tolist() == [5, 3]
    assert ResidentData(np.zeros((5, 2)), y).labels.tolist() == y.tolist()


def test_data_without_labels_gives_none():
    data = ResidentData(np.zeros((5, 2)))
    assert data.labels is None
    assert data.take(slice(0, 2))[1] is None


@pytest.fixture
def all_warnings_are_errors():
    """PyTorch says it once per process, which may have been before this test."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("all_warnings_are_errors")
@pytest.mark.parametrize("rows", [slice(2, 6), np.array([3, 1])], ids=["slice", "rows"])
def test_data_read_only_arrays_give_no_warning(rows):
    X, y = np.ones((9, 2, 2), dtype=np.uint8), np.arange(9)
    X.flags.writeable = y.flags.writeable = False
    x, labels = ResidentData(X, y).take(rows)
    np.testing.assert_array_equal(x.numpy(), X[rows])
    np.testing.assert_array_equal(labels.numpy(), y[rows])


def test_data_slices_share_memory_with_the_array():
    X = np.zeros((9, 4, 4), dtype=np.uint8)
    x, _ = ResidentData(X).take(slice(3, 6))
    assert np.shares_memory(x.numpy(), X)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("all_warnings_are_errors")
@pytest.mark.parametrize("dtype", ["u1", ">u2"])
@pytest.mark.parametrize("used", [None, np.arange(0, 4000, 2)], ids=["all", "rows"])
def test_data_memory_map_is_never_copied_whole(tmp_path, used, dtype):
    np.save(tmp_path / "images.npy", np.ones((4000, 32, 32), dtype=dtype))
    X = np.load(tmp_path / "images.npy", mmap_mode="r")
    tracemalloc.start()
    data = ResidentData(X, rows=used)
    for rows in (slice(0, 20), np.arange(20)):
        assert data.take(rows)[0].shape == (20, 32, 32)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000


def test_data_of_other_strides_gives_its_values():
    X = np.arange(60).reshape(10, 2, 3)[::-1, :, ::2]
    x, _ = ResidentData(X).take(slice(2, 5))
    np.testing.assert_array_equal(x.numpy(), X[2:5])


def test_batches_of_data_are_taken_anew_in_each_pass():
    data = ResidentData(np.arange(10.0)[:, None], np.arange(10))
    batches = Batches(data, [slice(0, 4), np.array([9, 7])])
    assert len(batches) == 2
    for _ in range(2):
        (x, labels), (other, _) = batches
        assert x.ravel().tolist() == labels.tolist() == [0, 1, 2, 3]
        assert other.ravel().tolist() == [9, 7]


@pytest.mark.parametrize(
    ("shape", "length"),
    [((28, 28), 334), ((64, 64, 3), 21), ((224, 224, 3), 8), ((4096, 4096), 1)],
)
def test_images_are_embedded_in_chunks_that_fit_the_cache(shape, length):
    X = np.broadcast_to(np.uint8(0), (2000, *shape))
    assert chunk_length(ResidentData(X)) == length


@pytest.mark.parametrize(
    ("n_features", "length"), [(3, 512), (784, 384), (100_000, 64)]
)
def test_vectors_are_embedded_in_chunks_that_need_no_padding(n_features, length):
    X = np.broadcast_to(np.float32(0), (2000, n_features))
    assert chunk_length(ResidentData(X)) == length


def budgeted(labels, batch_size, pair_budget, seed=0):
    return make_batches(
        np.asarray(labels),
        batch_size,
        "auto",
        pair_budget,
        random_state=np.random.default_rng(seed),
    )


def positive_pairs(labels):
    """Pairs of each class, counted one by one."""
    counts = Counter()
    for i in range(len(labels)):
        for j in range(i):
            counts[labels[i]] += labels[i] == labels[j]
    return counts


def test_natural_batches_are_shuffled_passes():
    labels = shuffled_labels(5, 43)
    batches = budgeted(labels, 12, "natural")
    for _ in range(3):
        rows = np.concatenate(list(batches))
        assert sorted(rows.tolist()) == list(range(48))


def test_natural_batches_have_pairs_as_often_as_the_data():
    labels = shuffled_labels(100, 300)
    batches = budgeted(labels, 40, "natural")
    found = sum(
        (positive_pairs(labels[r].tolist()) for _ in range(10) for r in batches),
        Counter(),
    )
    # 100 * 99 pairs of one class, 300 * 299 of the other.
    assert found[0] / found[1] == pytest.approx(99 * 100 / (299 * 300), rel=0.1)


@pytest.mark.parametrize("n", [5, 13, 25])
@pytest.mark.parametrize("pair_budget", ["natural", {0: 1.0, 1: 5.0}])
def test_budgeted_batches_use_rows_up_before_repeating(pair_budget, n):
    labels = np.arange(n) % 2
    batches = budgeted(labels, 8, pair_budget)
    rows = [r.tolist() for _ in range(8) for r in batches]
    assert all(len(set(part)) == len(part) for part in rows)
    parts = [range(n)] if pair_budget == "natural" else [range(0, n, 2), range(1, n, 2)]
    for part in parts:
        cards = [row for batch in rows for row in batch if row in part]
        for chunk in chunks(cards, len(part)):
            assert sorted(chunk) == list(part)


@pytest.mark.parametrize(
    ("numbers", "batch_size"),
    [([1, 1], 128), ([1, 4], 128), ([1, 20], 128), ([3, 1, 9, 2], 200), ([1] * 7, 64)],
)
def test_budgeted_batches_have_pairs_in_the_proportions_given(numbers, batch_size):
    labels = shuffled_labels(*[300] * len(numbers))
    budget = dict(enumerate(map(float, numbers)))
    for rows in budgeted(labels, batch_size, budget):
        images = Counter(labels[rows].tolist())
        assert sum(images.values()) == batch_size
        pairs = positive_pairs(labels[rows].tolist())
        scale = sum(pairs.values()) / sum(numbers)
        for c, number in enumerate(numbers):
            # As near as whole images come: one image is k - 1 pairs.
            assert abs(pairs[c] - number * scale) <= images[c]


def test_budgeted_batches_of_equal_numbers_are_balanced():
    labels = shuffled_labels(50, 70, 90, 40)
    for rows in budgeted(labels, 32, dict.fromkeys(range(4), 3.0)):
        assert Counter(labels[rows].tolist()) == dict.fromkeys(range(4), 8)


def test_budgeted_batches_hold_all_of_a_class_smaller_than_its_share():
    labels = shuffled_labels(5, 400)
    for rows in budgeted(labels, 32, {0: 1.0, 1: 1.0}):
        assert Counter(labels[rows].tolist()) == {0: 5, 1: 16}


@pytest.mark.parametrize("pair_budget", ["natural", {0: 1.0, 1: 5.0}])
def test_budgeted_batches_equal_seeds_give_equal_rows(pair_budget):
    labels = shuffled_labels(20, 30)
    first, again, other = (
        [r.tolist() for r in budgeted(labels, 12, pair_budget, seed)]
        for seed in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize("pair_budget", ["natural", {0: 1.0, 1: 5.0}])
@pytest.mark.parametrize("batch_size", [8, 1000])
def test_budgeted_batches_of_a_pass_are_as_many_as_its_rows_fill(
    pair_budget, batch_size
):
    batches = budgeted(shuffled_labels(20, 31), batch_size, pair_budget)
    assert isinstance(batches, BudgetedBatches)
    rows = list(batches)
    assert len(rows) == len(batches) == math.ceil(51 / len(rows[0]))


@pytest.mark.parametrize("batch_size", [4, 9, 50, 128])
def test_share_batch_is_the_best_of_all_divisions(batch_size):
    """Among all ways to divide a batch between two classes."""
    for ratio in (1.0, 2.5, 7.0, 40.0):
        first, second = share_batch(batch_size, np.array([1.0, ratio])).tolist()
        assert first + second == batch_size

        def gap(k, ratio=ratio):
            exact = (batch_size - k) * (batch_size - k - 1) - ratio * k * (k - 1)
            return abs(exact)

        best = min(range(1, batch_size), key=gap)
        assert abs(first - best) <= 1


def test_axes_of_one_with_negative_strides_are_taken():
    X = np.arange(6, dtype=np.uint8).reshape(6, 1, 1)[..., ::-1]
    assert X.flags.c_contiguous
    assert X.strides[-1] < 0
    x, _ = ResidentData(X).take(slice(2, 5))
    assert x.ravel().tolist() == [2, 3, 4]


def test_read_only_rows_are_taken_without_a_copy_or_a_warning():
    X = np.arange(6.0).reshape(6, 1)
    X.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x, _ = ResidentData(X).take(slice(0, 6))
    assert x.data_ptr() == X.ctypes.data
    assert not X.flags.writeable
