"""Batches of chosen classes over one resident array (layer 1: torch and NumPy only)."""

import math

import numpy as np
import torch
from scipy.optimize import brentq

from sksiamese._memory import RowReader

# Values that one batch of predictions may hold, input side: at most, and on a
# processor, where activations that fit the cache are worth more than long batches.
_MOST_VALUES, _CACHED_VALUES = 1 << 23, 1 << 18
# Feature vectors that are embedded at a time are a multiple of this.
VECTORS = 64


class ResidentData:
    """Images and labels from which a batch is taken by one index operation.

    On the CPU the caller's array itself is indexed, whatever its type, so a
    memory-mapped file is read batch by batch and does not fill the memory. On an
    accelerator the array is copied there once if it takes no more than half of the free
    memory; otherwise each batch is.

    Parameters
    ----------
    X : ndarray of shape (n, ...)
        Raw images or feature vectors.

    y : int64 ndarray of shape (n,) or None, default=None
        Encoded labels.

    rows : int64 ndarray of shape (n_used,) or None, default=None
        Rows of the array that the data set consists of; None takes all.

    device : str or torch.device, default="cpu"
        Where the batches are wanted.

    Attributes
    ----------
    labels : int64 ndarray of shape (n_used,) or None
        Labels of the data set.

    sample_values : int
        Values in one sample.
    """

    def __init__(self, X, y=None, *, rows=None, device="cpu"):
        self.device = torch.device(device)
        self.sample_values = math.prod(X.shape[1:])
        self.rows = rows
        self.labels = y if y is None or rows is None else y[rows]
        self.X = X
        self._reader = RowReader(X)
        self.y = None if y is None else _as_tensor(y).to(self.device)
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            if X.nbytes < free // 2:
                self.X = _as_tensor(X).to(self.device)

    def __len__(self):
        return len(self.X) if self.rows is None else len(self.rows)

    def take(self, rows):
        """Take a batch.

        Parameters
        ----------
        rows : slice or int64 ndarray of shape (n_batch,)
            Rows of the batch, counted within the data set.

        Returns
        -------
        Tensor of shape (n_batch, ...)
            Raw values on the device, in the array's own dtype.

        labels : int64 Tensor of shape (n_batch,) or None
            Encoded labels.
        """
        if self.rows is not None:
            rows = self.rows[rows]
        rows_there = rows
        if isinstance(rows, np.ndarray) and self.device.type != "cpu":
            rows_there = self._send(torch.from_numpy(rows))
        if isinstance(self.X, torch.Tensor):
            x = self.X[rows_there]
        else:
            x = self._send(_as_tensor(self._reader.take(rows)))
        return x, None if self.y is None else self.y[rows_there]

    def _send(self, batch):
        """Copy a batch to the device, which goes on with its work meanwhile."""
        if self.device.type == "cuda":
            batch = batch.pin_memory()  # only such memory is copied asynchronously
        return batch.to(self.device, non_blocking=True)


class Batches:
    """A data set together with the rows of its batches.

    Parameters
    ----------
    dataset : ResidentData
        Source of the batches.

    rows : sized iterable of slices or int64 ndarrays
        Rows of each batch; iterated anew for each pass.
    """

    def __init__(self, dataset, rows):
        self.dataset = dataset
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __iter__(self):
        return map(self.dataset.take, self.rows)


def _as_tensor(X):
    """View an array as a tensor, also one that may not be written to."""
    if X.dtype == np.longdouble:
        X = X.astype(np.float64)
    if not X.dtype.isnative:
        X = X.astype(X.dtype.newbyteorder("="))
    if not X.flags.c_contiguous or min(X.strides, default=0) < 0:
        X = X.copy(order="C")  # PyTorch knows no negative strides, even of axes of 1
    if not X.flags.writeable:
        X = np.asarray(_ReadOnlyMemory(X))
    return torch.from_numpy(X)


class _ReadOnlyMemory:
    """Array that NumPy takes for writable, which the library never makes use of.

    PyTorch warns of arrays that are not, and filters of warnings are no place for
    threads: two that change them at once leave them changed.
    """

    def __init__(self, X):
        self.X = X  # keeps the memory
        address = X.__array_interface__["data"][0]
        self.__array_interface__ = {**X.__array_interface__, "data": (address, False)}


class ClassBalancedBatches:
    """Batches of P classes x K images, anew in each epoch.

    The images of a class are drawn without replacement until all were used, then
    shuffled again; classes take turns in the same way. A class with fewer than K images
    joins with all of them: an image is never paired with itself. At most half of a
    batch's classes have a single image, which has no positive.

    Parameters
    ----------
    labels : int ndarray of shape (n,)
        Class of each row.

    batch_size : int
        Upper bound on the images of a batch.

    classes_per_batch : int or "auto", default="auto"
        P. ``"auto"`` takes all classes, but leaves room for four images of each.

    random_state : numpy.random.Generator
        Source of randomness, advanced by each epoch.

    Attributes
    ----------
    n_classes_, n_images_ : int
        P and K as used.

    Notes
    -----
    One pass has ``ceil(n / (P * K))`` batches, as many as a shuffled pass would.
    """

    def __init__(self, labels, batch_size, classes_per_batch="auto", *, random_state):
        labels = np.asarray(labels)
        order = np.argsort(labels, kind="stable")
        rows = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
        if classes_per_batch == "auto":
            classes_per_batch = max(2, batch_size // 4)
        self.n_classes_ = min(classes_per_batch, len(rows))
        self.n_images_ = min(batch_size // self.n_classes_, max(map(len, rows)))
        self.n_batches = math.ceil(len(labels) / (self.n_classes_ * self.n_images_))
        self.rng = random_state
        paired = [r for r in rows if len(r) > 1]
        single = [r for r in rows if len(r) == 1]
        share = math.ceil(self.n_classes_ * len(single) / len(rows))
        n_single = min(share, self.n_classes_ // 2, len(paired))
        n_paired = min(self.n_classes_ - n_single, len(paired))
        self.decks = [_Deck(r, self.rng) for r in paired]
        self.paired_turns = _Deck(np.arange(len(paired)), self.rng), n_paired
        self.single_turns = (
            (_Deck(np.concatenate(single), self.rng), n_single) if n_single else None
        )

    def __len__(self):
        return self.n_batches

    def __iter__(self):
        """Yield the rows of each batch of one pass, int64 arrays."""
        turns, n_paired = self.paired_turns
        for _ in range(self.n_batches):
            parts = [self.decks[c].draw(self.n_images_) for c in turns.draw(n_paired)]
            if self.single_turns is not None:
                singles, n_single = self.single_turns
                parts.append(singles.draw(n_single))
            yield np.concatenate(parts)


class BudgetedBatches:
    """Batches with a number of rows of their own for each part of the data set.

    The rows of a part are drawn without replacement until all were used, then shuffled
    again. A part with fewer rows than asked for joins each batch with all of them.

    Parameters
    ----------
    parts : list of int64 ndarrays
        Rows of each part, such as a class; together the data set.

    counts : list of int
        How many rows of each part a batch has.

    random_state : numpy.random.Generator
        Source of randomness, advanced by each epoch.

    Notes
    -----
    One pass has as many batches as hold as many rows as there are.
    """

    def __init__(self, parts, counts, *, random_state):
        self.counts = [min(n, len(p)) for n, p in zip(counts, parts, strict=True)]
        self.decks = [_Deck(part, random_state) for part in parts]
        self.n_batches = math.ceil(sum(map(len, parts)) / sum(self.counts))

    def __len__(self):
        return self.n_batches

    def __iter__(self):
        """Yield the rows of each batch of one pass, int64 arrays."""
        for _ in range(self.n_batches):
            drawn = zip(self.decks, self.counts, strict=True)
            yield np.concatenate([deck.draw(count) for deck, count in drawn])


class _Deck:
    """Cards drawn without replacement, shuffled again when they run out.

    Within one draw no card repeats; a draw larger than the deck is the deck.
    """

    def __init__(self, cards, rng):
        self.cards = cards
        self.rng = rng
        self.left = cards[:0]

    def draw(self, count):
        """Draw the next cards."""
        count = min(count, len(self.cards))
        drawn, self.left = self.left[:count], self.left[count:]
        if len(drawn) < count:
            fresh = self.rng.permutation(self.cards)
            # Cards that are drawn already go to the end, to be drawn next time.
            fresh = fresh[np.argsort(np.isin(fresh, drawn), kind="stable")]
            missing = count - len(drawn)
            drawn = np.concatenate([drawn, fresh[:missing]])
            self.left = fresh[missing:]
        return drawn


def share_batch(batch_size, pairs):
    """Divide a batch so that classes have positive pairs in given proportions.

    A class with k images has ``k * (k - 1) / 2`` pairs, so the images go nearly with
    the square root.

    Parameters
    ----------
    batch_size : int
        Images of the batch.

    pairs : float ndarray of shape (n_classes,)
        Relative number of positive pairs of each class, > 0.

    Returns
    -------
    int64 ndarray of shape (n_classes,)
        Images of each class, which add up to ``batch_size``.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese._batches import share_batch
    >>> share_batch(12, np.array([1.0, 1.0, 4.0]))
    array([3, 3, 6])
    """
    pairs = pairs / pairs.max()

    def images(scale):
        return (1 + np.sqrt(1 + 4 * scale * pairs)) / 2

    # The largest class cannot have more pairs than a batch all of its own would.
    scale = brentq(lambda s: images(s).sum() - batch_size, 0, float(batch_size) ** 2)
    exact = images(scale)
    counts = np.floor(exact).astype(np.int64)
    lacking = np.argsort(counts - exact, kind="stable")[: batch_size - counts.sum()]
    counts[lacking] += 1
    return counts


def make_batches(labels, batch_size, classes_per_batch, pair_budget, *, random_state):
    """Build the batches that an estimator's parameters describe.

    Parameters
    ----------
    labels : int ndarray of shape (n,)
        Class of each row.

    batch_size : int
        Upper bound on the images of a batch.

    classes_per_batch : int or "auto"
        Classes in a batch, for ``pair_budget="balanced"``.

    pair_budget : {"balanced", "natural"} or dict
        ``"balanced"`` is :class:`ClassBalancedBatches`, ``"natural"`` shuffled batches
        that know no classes. A dict from class to relative number of positive pairs,
        > 0, puts images of every class into each batch.

    random_state : numpy.random.Generator
        Source of randomness, advanced by each epoch.

    Returns
    -------
    ClassBalancedBatches or BudgetedBatches
        Sized iterable of the rows of each batch.
    """
    if pair_budget == "balanced":
        return ClassBalancedBatches(
            labels, batch_size, classes_per_batch, random_state=random_state
        )
    if pair_budget == "natural":
        parts, counts = [np.arange(len(labels))], [batch_size]
    else:
        parts = [np.flatnonzero(labels == c) for c in np.unique(labels)]
        pairs = np.array([pair_budget[c] for c in np.unique(labels)])
        counts = share_batch(batch_size, pairs)
    return BudgetedBatches(parts, counts, random_state=random_state)


def chunk_length(data):
    """Count the samples to embed at a time.

    Parameters
    ----------
    data : ResidentData
        What is to be embedded.

    Returns
    -------
    int
        Samples, a multiple of ``VECTORS`` for feature vectors.
    """
    values = max(1, data.sample_values)
    room = _CACHED_VALUES if data.device.type == "cpu" else _MOST_VALUES
    length = max(room // values, min(8, _MOST_VALUES // values), 1)
    length = min(512, length)
    if data.X.ndim == 2:  # a shorter batch of vectors would be padded to this
        length = math.ceil(length / VECTORS) * VECTORS
    return length
