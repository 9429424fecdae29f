"""Images that are there twice, in two splits or in one (layer 0, a late step).

NumPy, scikit-learn and packages that it needs, only. Pairs of rows are looked at block
by block, so memory does not grow with their number.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from numbers import Real

import numpy as np
from joblib import cpu_count
from threadpoolctl import threadpool_limits

from sksiamese._image_statistics import ImageBlocks, pixel_codes
from sksiamese._validation import Interval, validate_params
from sksiamese._waves import Waves, as_real, unit

_MIN_PIXELS = 16
# Near: as far above what unrelated images reach as copies are, in Fisher's z.
_MARGIN, _LEAST, _ENOUGH = 1.5, 0.96, 0.998
# What two near images have in common at least, in the coarse waves, and where one is
# shifted in the strengths of the waves alone.
_COARSE_LEAST, _STRENGTH_LEAST = 0.95, 0.98
# So many images tell what unrelated ones reach. Up to that share of them may be copies
# of one image; where more are as near, all images are alike.
_N_REFERENCES, _RANK, _MOST_COPIES = 1000, 6, 0.1
_N_AXES = 48
_BLOCK_A, _BLOCK_B, _CONFIRMED = 512, 2048, 1 << 15
# Pairs that are looked at closely, of each row and column of a block.
_CLOSEST = 16


@dataclass(frozen=True)
class Duplicates:
    """Rows that are duplicates of others.

    It has as many entries as its length. Look at the pairs of images before you drop
    any: near ones may be two images of one thing.

    Parameters
    ----------
    rows : int64 ndarray of shape (n_found, 2)
        Row in ``X_a`` and row in ``X_b``, or two rows of ``X_a``, sorted.

    distance : float64 ndarray of shape (n_found,)
        0 for exact duplicates; else ``1 - correlation`` of images, or the Euclidean
        distance of embeddings.

    kind : str ndarray of shape (n_found,)
        ``"exact"`` or ``"near"``.

    See Also
    --------
    find_duplicates : Finds them.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.pairs import find_duplicates
    >>> X = np.random.default_rng(0).integers(0, 256, (4, 20, 20), dtype=np.uint8)
    >>> X[3] = X[1]
    >>> found = find_duplicates(X)
    >>> found, found.rows.tolist(), found.kind.tolist()
    (<Duplicates: 1 exact, 0 near>, [[1, 3]], ['exact'])
    >>> np.delete(X, found.rows[:, 1], axis=0).shape
    (3, 20, 20)
    """

    rows: np.ndarray
    distance: np.ndarray
    kind: np.ndarray

    def __len__(self):
        return len(self.rows)

    def __repr__(self):
        exact = int((self.kind == "exact").sum())
        return f"<Duplicates: {exact} exact, {len(self) - exact} near>"


@validate_params(
    {"max_distance": [Interval(Real, 0, None, closed="left"), None]},
    prefer_skip_nested_validation=True,
)
def find_duplicates(X_a, X_b=None, *, max_distance=None):
    """Find images of one split that are in another, or twice in one.

    Exact duplicates have the same pixels, shape and dtype. Near duplicates of images
    are copies that were coded again, changed in brightness or contrast, resized,
    turned grey, or shifted by a pixel: the correlation of their waves of medium length
    stands out from what unrelated images of the same sets reach, so that X-rays, which
    all look alike, are not taken for copies. Copies of one image that are more than a
    tenth of all pass for images that look alike, and only the nearest of them are
    found, if no ``max_distance`` is given. Not found are crops, rotations, mirror
    images and larger shifts; halved and shifted copies of images of about 28 x 28 or of
    little detail are found in part. Images below 16 x 16 pixels and those of one tone
    are compared exactly only. Simple drawings, such as dots and strokes, may be named
    though they are different ones.

    Embeddings, which are rows of floats, are near within a Euclidean distance.

    Of many duplicates of one row, the nearest is named, or one of the nearest where
    nearly all images are near each other; so the result has no more entries than there
    are rows. Each row that has a duplicate is in it, as far as these are found. Read
    more in the :ref:`User Guide <guide-groups>`.

    Parameters
    ----------
    X_a : array-like of shape (n_a, height, width), (n_a, height, width, n_channels) \
or (n_a, n_features), or list of n_a images
        Images, or embeddings as rows of one array or data frame. The images of a list
        may differ in size.
        Memory-mapped arrays are read in parts.

    X_b : array-like or None, default=None
        The other split; its images may be of another size. ``None`` looks for
        duplicates within ``X_a``.

    max_distance : float or None, default=None
        Largest distance of near duplicates; 0 finds exact ones only. Of images, the
        distance is ``1 - correlation``, in [0, 2], and None is settled for each by what
        unrelated images reach, between 0.002 and 0.04. Embeddings are compared
        exactly only for None, since nobody knows their unit.

    Returns
    -------
    Duplicates
        ``rows``, ``distance`` and ``kind`` of what was found.

    Raises
    ------
    ValueError
        If the input is neither images nor embeddings, holds NaN or values beyond 1e12,
        or embeddings differ in width.

    See Also
    --------
    audit_pairs : Looks for copies, and for other faults, among given pairs.
    sksiamese.images.load_image_folder : Images of a folder of files.

    Examples
    --------
    The last image of one split is the first of the other.

    >>> import numpy as np
    >>> from sksiamese.pairs import find_duplicates
    >>> X = np.random.default_rng(0).integers(0, 256, (6, 20, 20), dtype=np.uint8)
    >>> find_duplicates(X[:4], X[3:]).rows
    array([[3, 0]])
    """
    if isinstance(max_distance, (bool, np.bool_)):
        raise ValueError(f"max_distance={max_distance} is no number: pass a distance.")
    sets = [(X_a, "X_a")] if X_b is None else [(X_a, "X_a"), (X_b, "X_b")]
    if all(getattr(X, "ndim", 0) == 2 for X, _ in sets):
        return _compare_embeddings([_check_rows(*s) for s in sets], max_distance)
    for X, name in sets:
        if isinstance(X, (list, tuple)) and len(X) and np.ndim(X[0]) == 1:
            raise ValueError(
                f"{name} is a list of rows: pass embeddings as one array,"
                f" np.stack({name}), and images as arrays of two or three axes."
            )
    if max_distance is not None and max_distance > 2:
        raise ValueError(
            f"max_distance={max_distance}, but the distance of images is 1 -"
            " correlation, which is at most 2: pass a smaller one."
        )
    sets = [ImageBlocks(*named) for named in sets]
    return compare_images(sets, pixel_codes(*sets), max_distance)


def compare_images(sets, codes, max_distance=None):
    """Find duplicates among images whose pixels are numbered.

    Parameters
    ----------
    sets : list of one or two ImageBlocks
        Images.

    codes : list of int64 ndarray of shape (n,)
        Numbers of their pixels, of each set.

    max_distance : float or None, default=None
        See ``find_duplicates``.

    Returns
    -------
    Duplicates
        What was found.
    """
    near = max_distance != 0 and all(large_enough(images) for images in sets)
    if not near:
        for images in sets:
            for _ in images.floats():  # NaN is an error in any case
                pass

    def make_search(rows):
        """Compare some images of each set."""
        parts = [images.subset(r) for images, r in zip(sets, rows, strict=True)]
        return _ImageSearch(parts, max_distance)

    return _collect(codes, make_search if near else None)


def large_enough(images):
    """Tell whether images have the pixels that near duplicates are known by.

    Parameters
    ----------
    images : ImageBlocks
        Images.

    Returns
    -------
    bool
        Whether the smallest has 16 x 16 pixels or more; False if there are none.
    """
    return len(images) > 0 and bool(images.sizes.min() >= _MIN_PIXELS)


def _compare_embeddings(sets, max_distance):
    """Find duplicates among embeddings."""
    if len({Z.shape[1] for Z in sets}) > 1:
        raise ValueError(
            f"X_b has {sets[1].shape[1]} columns, but X_a has {sets[0].shape[1]}:"
            " pass embeddings of one model."
        )
    # A row is an image of one line, as far as equality goes.
    codes = pixel_codes(*(ImageBlocks(Z[:, None], "rows") for Z in sets))

    def make_search(rows):
        """Compare some rows of each set."""
        parts = [Z[r] for Z, r in zip(sets, rows, strict=True)]
        return _EmbeddingSearch(parts, max_distance)

    return _collect(codes, make_search if max_distance else None)


def _check_rows(Z, name):
    """Check embeddings."""
    Z = np.asarray(Z)
    if Z.dtype.kind != "f":
        raise ValueError(
            f"{name} holds rows of {Z.dtype}: embeddings are floats, and rows of pixels"
            " are images after rows.reshape(-1, height, width)."
        )
    if not np.isfinite(Z).all():
        raise ValueError(f"{name} holds NaN or infinity: leave these rows out.")
    return Z


def _collect(codes, make_search):
    """Join exact and near duplicates into one sorted result."""
    exact = _exact(codes)
    near, distance = np.empty((0, 2), dtype=np.int64), np.empty(0)
    if make_search is not None and min(map(len, codes)) > 0:
        near, distance = _near(codes, exact, make_search)
    rows = np.concatenate([exact, near])
    distance = np.concatenate([np.zeros(len(exact)), distance])
    kind = np.repeat(["exact", "near"], [len(exact), len(near)])
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    return Duplicates(rows[order], distance[order], kind[order])


def _exact(codes):
    """Name each row of a repeated code with the first that it equals."""
    known, first_a = np.unique(codes[0], return_index=True)
    a = np.arange(len(codes[0]))
    if len(codes) == 1:
        first = first_a[np.searchsorted(known, codes[0])]
        return np.column_stack([first, a])[first != a]
    shared, first_a, first_b = np.intersect1d(*codes, return_indices=True)
    pairs = []
    for side, firsts in ((0, first_b), (1, first_a)):
        rows = np.flatnonzero(np.isin(codes[side], shared))
        partner = firsts[np.searchsorted(shared, codes[side][rows])]
        pairs.append(np.column_stack([rows, partner][:: -1 if side else 1]))
    return np.unique(np.concatenate(pairs), axis=0)


def _near(codes, exact, make_search):
    """Find near duplicates, searching one row for each of those that are equal."""
    firsts = [np.sort(np.unique(c, return_index=True)[1]) for c in codes]
    distinct = [c[first] for c, first in zip(codes, firsts, strict=True)]
    partner, best = _nearest(distinct, make_search(firsts))
    rows, distance = [], []
    for side in range(len(codes)):
        order = np.argsort(distinct[side])
        place = order[np.searchsorted(distinct[side], codes[side], sorter=order)]
        # Those that are named as exact duplicates already need no near one.
        equal = exact if len(codes) == 1 else exact[:, side]
        named = ~np.isin(np.arange(len(place)), equal)
        named[firsts[side]] = True
        named &= partner[side][place] >= 0
        mine, place = np.flatnonzero(named), place[named]
        other = firsts[-1 - side][partner[side][place]]
        rows.append(np.column_stack([mine, other][:: -1 if side else 1]))
        distance.append(best[side][place])
    rows, distance = np.concatenate(rows), np.concatenate(distance)
    if len(codes) == 1:
        rows.sort(axis=1)
    rows, first = np.unique(rows, axis=0, return_index=True)
    return rows, distance[first]


def _nearest(codes, search):
    """Find each row's nearest duplicate other than exact ones: row and distance."""
    within = len(codes) == 1
    sizes = [len(codes[0]), len(codes[-1])]
    best = [np.full(size, np.inf) for size in sizes]
    partner = [np.full(size, -1) for size in sizes]
    if within:
        best[1], partner[1] = best[0], partner[0]
    for a, b in search.candidates(within):
        different = codes[0][a] != codes[-1][b]
        a, b = a[different], b[different]
        for start in range(0, len(a), _CONFIRMED):
            part = slice(start, start + _CONFIRMED)
            rows = a[part], b[part]
            distance, near = search.distances(*rows)
            distance, rows = distance[near], [side[near] for side in rows]
            for side in (0, 1):
                _keep_nearest(
                    best[side], partner[side], rows[side], rows[1 - side], distance
                )
    return partner, best


def _keep_nearest(best, partner, rows, others, distance):
    """Note the nearest partner of each row."""
    order = np.argsort(-distance, kind="stable")
    order = order[distance[order] < best[rows[order]]]
    # Of repeated rows the last one counts, which is the nearest.
    best[rows[order]] = distance[order]
    partner[rows[order]] = others[order]


def _products_above(A, B, threshold, within):
    """Yield rows whose dot products reach a threshold, stripe by stripe.

    Within one set, only the pairs of a row and a later one.
    """

    def search(corner):
        """Search one block."""
        i, j = corner
        product = A[i : i + _BLOCK_A] @ B[j : j + _BLOCK_B].T
        if within and i + len(product) > j:  # a pair of a row and an earlier one
            product[np.tri(*product.shape, i - j, dtype=bool)] = -np.inf
        hits = product >= threshold
        if np.count_nonzero(hits) > _CLOSEST * sum(product.shape):
            hits &= _closest(product)
        a, b = np.divmod(np.flatnonzero(hits), product.shape[1])
        return a + i, b + j

    # Blocks that fit the cache, one a thread: within a block, threads of the linear
    # algebra would mostly wait for each other.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(cpu_count()) as pool:
        for i in range(0, len(A), _BLOCK_A):
            start = i // _BLOCK_B * _BLOCK_B if within else 0
            corners = [(i, j) for j in range(start, len(B), _BLOCK_B)]
            for a, b in pool.map(search, corners):
                if len(a):
                    yield a, b


def _closest(product):
    """Mark the largest products of each row and column."""
    closest = np.zeros(product.shape, dtype=bool)
    for axis, size in enumerate(product.shape):
        n = min(_CLOSEST, size)
        places = np.argpartition(product, size - n, axis=axis)
        places = np.take(places, np.arange(size - n, size), axis=axis)
        np.put_along_axis(closest, places, True, axis=axis)
    return closest


class _EmbeddingSearch:
    """Rows within a Euclidean distance of each other."""

    def __init__(self, sets, radius):
        self._sets, self._radius = sets, radius

    def candidates(self, within):
        """Yield pairs that are near, give or take the rounding of float32."""
        centre = self._sets[0].mean(axis=0)
        A, B = (np.asarray(Z - centre, np.float32) for Z in self._both())
        half_a, half_b = (-(Z**2).sum(axis=1, keepdims=True) / 2 for Z in (A, B))
        slack = 1e-5 * max(1e-30, *(-2 * h.min(initial=0) for h in (half_a, half_b)))
        A = np.hstack([A, half_a, np.ones_like(half_a)])
        B = np.hstack([B, np.ones_like(half_b), half_b])
        # The product is minus half of the squared distance.
        yield from _products_above(A, B, -(self._radius**2) / 2 - slack, within)

    def _both(self):
        """Both sets, which may be one."""
        return self._sets[0], self._sets[-1]

    def distances(self, a, b):
        """Distances of pairs, and which of them are near."""
        A, B = self._both()
        distance = np.linalg.norm(A[a].astype(float) - B[b], axis=1)
        return distance, distance <= self._radius


class _ImageSearch:
    """Images whose waves of medium length agree."""

    def __init__(self, sets, max_distance):
        self._max_distance = max_distance
        smallest = np.min([s.sizes.min(axis=0) for s in sets if len(s)], axis=0)
        self._waves = Waves(smallest)
        self._spectra = [self._waves.measure(images) for images in sets]
        if max_distance is None:
            self._needed = self._thresholds()

    def candidates(self, within):
        """Yield pairs that agree in the coarse waves, or but for a shift."""
        allowed = self._max_distance or 0
        A, B = self._spectra[0], self._spectra[-1]
        coarse, shifted = self._waves.coarse, self._waves.shifted
        for take, least in (
            (lambda S: as_real(S[:, coarse]), min(_COARSE_LEAST, 1 - allowed)),
            (lambda S: np.abs(S[:, shifted]), min(_STRENGTH_LEAST, 1 - allowed / 2)),
        ):
            known = [unit(take(S)) for S in ((A,) if A is B else (A, B))]
            small = _shorten(known)
            for a, b in _products_above(small[0], small[-1], least - 1e-5, within):
                for start in range(0, len(a), _CONFIRMED):
                    i, j = a[start : start + _CONFIRMED], b[start : start + _CONFIRMED]
                    product = np.einsum("ij,ij->i", known[0][i], known[-1][j])
                    yield i[product >= least], j[product >= least]

    def distances(self, a, b):
        """One minus the correlation at the best shift, and which pairs are near."""
        product = np.conj(self._spectra[0][a]) * self._spectra[-1][b]
        correlation = (as_real(product) @ self._waves.shifts).max(axis=1)
        if self._max_distance is None:
            least = np.maximum(self._needed[0][a], self._needed[-1][b])
        else:
            least = 1 - self._max_distance
        return np.clip(1 - correlation, 0, 2).astype(float), correlation >= least

    def _thresholds(self):
        """Correlation that is needed, of each image, given what others reach."""
        counts = [len(S) for S in self._spectra]
        rng = np.random.default_rng(0)
        n_drawn = min(sum(counts), _N_REFERENCES)
        drawn = np.sort(rng.choice(sum(counts), n_drawn, replace=False))
        mine = drawn < counts[0]
        references = [self._spectra[0][drawn[mine]]]
        if len(counts) > 1:
            references.append(self._spectra[1][drawn[~mine] - counts[0]])
        references = as_real(np.concatenate(references))
        # Not the best one, which may be the image itself or a copy of it.
        rank = max(0, len(references) - _RANK)
        needed = []
        for spectra in self._spectra:
            usual = np.empty(len(spectra), dtype=np.float32)
            for start in range(0, len(spectra), _BLOCK_A):
                part = slice(start, start + _BLOCK_A)
                products = as_real(spectra[part]) @ references.T
                # Nor others of its copies, if it has many.
                near = products >= _LEAST
                near[near.mean(axis=1) > _MOST_COPIES] = False
                products[near] = -1
                usual[part] = np.partition(products, rank, axis=1)[:, rank]
            z = np.arctanh(np.clip(usual, 0, 0.9999)) + _MARGIN
            needed.append(np.clip(np.tanh(z), _LEAST, _ENOUGH))
        return needed


def _shorten(sets):
    """Shorten unit vectors so that their products bound those of the long ones.

    The strongest axes, and the length of the rest: by Cauchy's inequality the product
    of two rests is no larger than that of their lengths.
    """
    if sets[0].shape[1] <= _N_AXES + 1:
        return sets
    sample = np.concatenate([s[:: max(1, len(s) // 5000)] for s in sets])
    axes = np.linalg.eigh(sample.T @ sample)[1][:, -_N_AXES:]
    short = [vectors @ axes for vectors in sets]
    rest = [
        (v**2).sum(axis=1) - (s**2).sum(axis=1)
        for v, s in zip(sets, short, strict=True)
    ]
    return [
        np.column_stack([s, np.sqrt(np.clip(r, 0, None))])
        for s, r in zip(short, rest, strict=True)
    ]
