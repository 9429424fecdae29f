"""Generated arrays, labels and parameters give a right answer or a documented error.

``pytest -s tests/test_fuzz_inputs.py`` lists the outcomes and how often each occurred.
"""

import collections
import re

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sksiamese import SiameseClassifier, SiameseEmbedder, SiameseVerifier

pytestmark = pytest.mark.filterwarnings("ignore")  # tiny, odd data learn little
FUZZ = {
    "deadline": 20_000,  # milliseconds: nothing hangs
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}
SMALL = {"max_epochs": 1, "random_state": 0}
DTYPES = ["u1", "i1", "u2", "i4", "i8", "u8", "f2", "f4", "f8", ">f4", ">i2", "?"]
ODD_DTYPES = ["g", "c8", "O", "U2", "M8[s]"]
# An error must name what is wrong: data, labels, what scikit-learn calls them, or a
# parameter.
NAMES = {*SiameseClassifier().get_params(), *SiameseVerifier(None).get_params()}
NAMED = re.compile(
    r"\b(X|y|pairs|labels?|class(es)?|array|samples?|images?|features?|dtype|number"
    r"|numeric|float|Complex data|" + "|".join(sorted(NAMES)) + r")\b"
)
DOCUMENTED = ValueError, TypeError


class Outcomes:
    """Counts what came of the examples."""

    def __init__(self):
        self.counts = collections.Counter()

    def refused(self, error):
        """Count an error, which must say what was wrong."""
        assert NAMED.search(str(error)), repr(error)
        self.counts[re.sub(r"[\d.]+|\[.*?\]|\(.*?\)", "#", str(error))[:75]] += 1

    def report(self, n, at_least):
        """Print what came of the examples; enough of them must have been answered."""
        assert sum(self.counts.values()) >= n
        for outcome, count in self.counts.most_common():
            print(f"{count:4d} {outcome}")
        assert self.counts["answered"] >= at_least


@st.composite
def shapes(draw, n):
    """Draw the shape of n samples: mostly of images or rows, sometimes of neither."""
    side = st.integers(1, 9)
    kind = draw(st.sampled_from(["grey", "grey", "colour", "rows", "rows", "odd"]))
    if kind == "grey":
        return (n, draw(side), draw(side))
    if kind == "colour":
        return (n, draw(side), draw(side), draw(st.sampled_from([1, 2, 3, 3, 4, 5])))
    if kind == "rows":
        return (n, draw(st.integers(1, 20)))
    odd = [(n,), (n, 0), (n, 8, 0), (n, 3, 8, 8), (n, 2, 2, 2, 2), (1, n), ()]
    return draw(st.sampled_from(odd))


@st.composite
def values(draw, shape):
    """Draw an array of a shape: its dtype, range, odd values and layout in memory."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    odd = draw(st.integers(0, 9)) == 7
    dtype = np.dtype(draw(st.sampled_from(ODD_DTYPES if odd else DTYPES)))
    X = rng.integers(0, draw(st.sampled_from([2, 10, 120])), shape)
    X = X.astype("i8").astype(dtype) if dtype.kind == "M" else np.asarray(X, dtype)
    if dtype.kind == "f":
        X = np.asarray(X * draw(st.sampled_from([1.0, 1e-3, -1.0, 1e4])), dtype)
    if X.size and dtype.kind in "fui" and draw(st.integers(0, 6)) == 5:
        X.flat[rng.integers(X.size)] = draw(st.sampled_from(extremes(dtype)))
    layout = draw(st.sampled_from(["C", "C", "F", "reversed", "read-only", "list"]))
    if layout == "F":
        X = np.asfortranarray(X)
    elif layout == "reversed" and X.ndim:
        X = X[..., ::-1]
    elif layout == "read-only":
        X.flags.writeable = False
    elif layout == "list":
        X = X.tolist()
    return X


def extremes(dtype):
    """List values that numbers of a type may have, and networks may not like."""
    if dtype.kind == "f":
        info = np.finfo(dtype)
        return [np.nan, np.inf, -np.inf, info.max, info.min, info.tiny, -0.0]
    return [np.iinfo(dtype).max, np.iinfo(dtype).min]


@st.composite
def labels(draw, n):
    """Draw labels of n samples: mostly of a few classes, sometimes of none or wrong."""
    n_classes = draw(st.integers(2, 4))
    codes = draw(st.lists(st.integers(0, n_classes - 1), min_size=n, max_size=n))
    if draw(st.integers(0, 3)) != 2:  # as many of each
        codes = [i % n_classes for i in range(n)]
    kind = draw(
        st.sampled_from(["int", "int", "str", "object", "bool", "float", "odd"])
    )
    if kind == "int":
        return np.array(codes, int) * draw(st.sampled_from([1, -3, 1000]))
    if kind == "str":
        return np.array(["abcd"[c] for c in codes], "U1")
    if kind == "object":
        return np.array([["cat", "dog", "eel", "fox"][c] for c in codes], object)
    if kind == "bool":
        return np.array(codes, int) > 0
    if kind == "float":
        return np.array(codes, float)
    odd = [
        np.array(codes, float) + 0.5,
        np.array([np.nan] * n),
        np.array([None] * n),
        np.array(codes, int)[:, None],
        np.array(codes, int)[: n - 1] if n else np.zeros(1, int),
        np.zeros((n, 2), int),
        np.zeros(n, int),
        codes,
        None,
    ]
    return draw(st.sampled_from(odd))


PARAMETERS = {
    "augment": [None, "auto", "light", "strong", "isotropic"],
    "backbone": ["mlp", "conv", "conv16-32-64", "dense128"],
    "batch_size": [4, 5, 16, 128, 3],
    "class_weight": ["balanced", {0: 2.0}],
    "classes_per_batch": [2, 3, 50],
    "early_stopping": [True],
    "embedding_dim": [1, 2, 7],
    "image_shape": [(2, 2), (3, 4), (1, 1, 3)],
    "image_size": [1, 5, (4, 7), 12],
    "loss": ["logistic", "triplet", "multi_similarity", "supervised_contrastive"],
    "lr": [1e-6, 1.0, 1e8],
    "lr_schedule": ["cosine", "constant"],
    "margin": [1e-3, 100.0],
    "mining": ["all", "hard", "semihard"],
    "normalize": [False],
    "pair_budget": ["natural", {0: 1.0, 1: 2.0}],
    "precision": ["float32", "bfloat16"],
    "trainable": ["head", 1, 2, 9],
    "validation_fraction": [0.0, 0.3, 0.9],
    "weight_decay": [0.0, 1.0],
}
OF_CLASSIFIER = {
    "classifier": ["knn", "prototype"],
    "n_neighbors": [1, 50],
    "n_prototypes": [2, 40],
    "priors": ["train", [0.5, 0.5], {0: 0.1, 1: 0.9}],
    "unknown": ["reject"],
    "max_fpr": [0.001, 0.5],
}


@st.composite
def parameters(draw, choices):
    """Draw up to three parameters, each with a value that it may have."""
    names = draw(st.lists(st.sampled_from(sorted(choices)), max_size=3, unique=True))
    return {name: draw(st.sampled_from(choices[name])) for name in names}


@st.composite
def problems(draw, choices, sizes=(12, 24, 16, 9, 8, 5, 2, 1, 0)):
    """Draw images, labels and parameters."""
    n = draw(st.sampled_from(sizes))
    X = draw(values(draw(shapes(n))))
    return X, draw(labels(n)), draw(parameters(choices))


def kept(X):
    """Copy an input, to see that it is not written to."""
    return X.copy() if isinstance(X, np.ndarray) else repr(X)


def assert_kept(X, before):
    """Compare an input with what it was."""
    if isinstance(X, np.ndarray):
        assert X.dtype == before.dtype
        np.testing.assert_array_equal(X, before)
    else:
        assert repr(X) == before


def check_embeddings(model, X, n):
    """Check embeddings: form, length, and that rows do not depend on each other."""
    Z = model.transform(X)
    assert Z.shape == (n, len(model.get_feature_names_out()))
    assert Z.dtype == np.float32
    assert np.isfinite(Z).all()
    length = np.linalg.norm(Z, axis=1)
    if model.normalize:
        assert ((abs(length - 1) < 1e-4) | (length < 1e-3)).all()
    alone = model.transform(X[:1])
    np.testing.assert_allclose(alone[0], Z[0], atol=1e-4 * max(1, length[0]))
    distances = model.pair_distance((X, X[::-1]))
    if not hasattr(model.net_.criterion_, "pair_logit"):
        expected = np.linalg.norm(Z.astype(float) - Z[::-1], axis=1)
        np.testing.assert_allclose(
            distances, expected, atol=1e-4 * max(1, length.max())
        )


def check_classes(clf, X, n):
    """Check probabilities and predictions against each other."""
    proba = clf.predict_proba(X)
    assert proba.shape == (n, len(clf.classes_))
    assert (proba >= 0).all()
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-9)
    predicted = clf.predict(X)
    assert predicted.shape == (n,)
    # Logits that differ in their last digits give equal probabilities.
    likely = proba >= proba.max(1, keepdims=True) * (1 - 1e-12)
    known = (likely & (predicted[:, None] == clf.classes_)).any(1)
    if clf.unknown is None:
        assert known.all()
    else:
        far = clf.unknown_score(X) > clf.unknown_threshold_
        assert (known != far).all()
    scores = clf.decision_function(X)
    assert len(scores) == n
    assert (clf.unknown_score(X) >= 0).all()


def check_fit(kind, problem, outcomes, method="fit"):
    """Fit and ask, or be refused."""
    X, y, params = problem
    before = kept(X), kept(y)
    model = kind(**{**SMALL, **params})
    try:
        getattr(model, method)(X, y)
    except DOCUMENTED as error:
        assert not hasattr(model, "net_") or "keeps" in str(error)
        outcomes.refused(error)
        return None
    finally:
        assert_kept(X, before[0])
        assert_kept(y, before[1])
    try:
        check_embeddings(model, X, len(X))
        if kind is SiameseClassifier:
            np.testing.assert_array_equal(model.classes_, np.unique(y))
            check_classes(model, X, len(X))
    except DOCUMENTED as error:  # one value is beyond what the network can take
        assert "NaN or infinite: check X" in str(error), error
        outcomes.counts["fits, but overflows"] += 1
        return None
    assert_kept(X, before[0])
    outcomes.counts["answered"] += 1
    return model


@pytest.mark.parametrize(
    ("kind", "method", "n"),
    [
        (SiameseClassifier, "fit", 350),
        (SiameseClassifier, "partial_fit", 150),
        (SiameseEmbedder, "fit", 200),
    ],
)
def test_generated_training_data_and_parameters(kind, method, n):
    choices = PARAMETERS if kind is SiameseEmbedder else PARAMETERS | OF_CLASSIFIER
    outcomes = Outcomes()

    @settings(max_examples=n, **FUZZ)
    @given(problems(choices))
    def check(problem):
        check_fit(kind, problem, outcomes, method)

    check()
    outcomes.report(n, at_least=n // 5)


def test_generated_images_for_a_verifier():
    outcomes, n = Outcomes(), 120

    @settings(max_examples=n, **FUZZ)
    @given(
        problems(PARAMETERS, (24, 36, 48, 9)),
        st.sampled_from(["eer", "accuracy", "max_fpr", 0.5]),
    )
    def check(problem, threshold):
        X, y, params = problem
        embedder = SiameseEmbedder(**{**SMALL, **params})
        verifier = SiameseVerifier(
            embedder, threshold=threshold, validation_fraction=0.4, random_state=0
        )
        try:
            verifier.fit(X, y)
            pairs = X, X[::-1]
            same, proba = verifier.predict(pairs), verifier.predict_proba(pairs)
        except DOCUMENTED as error:
            outcomes.refused(error)
            return
        distances = verifier.pair_distance(pairs)
        np.testing.assert_array_equal(same, distances <= verifier.threshold_)
        np.testing.assert_allclose(proba.sum(1), 1)
        # Tiny sets may teach that nearer is less likely the same, but one or the other.
        steps = np.diff(proba[np.argsort(distances, kind="stable"), 1])
        assert (steps <= 1e-12).all() or (steps >= -1e-12).all()
        outcomes.counts["answered"] += 1

    check()
    outcomes.report(n, at_least=n // 8)


@pytest.fixture(scope="module")
def fitted():
    """Fit models on images, on rows that are images, and on vectors."""
    rng = np.random.default_rng(0)
    y = np.arange(40) % 4
    images = rng.integers(0, 100, (40, 6, 5)) + 30 * y[:, None, None]
    colour = np.repeat(images[..., None], 3, axis=3).astype(np.uint8)
    rows = images.reshape(40, -1).astype(float)
    return {
        (6, 5): SiameseClassifier(**SMALL).fit(images, y),
        (6, 5, 3): SiameseClassifier(
            unknown="reject", max_fpr=0.3, validation_fraction=0.4, **SMALL
        ).fit(colour, y),
        (30,): SiameseClassifier("mlp", classifier="knn", **SMALL).fit(rows, y),
        "rows": SiameseClassifier(image_shape=(6, 5), **SMALL).fit(rows, y),
    }


@st.composite
def questions(draw):
    """Draw a model, and samples that mostly have the shape that it knows."""
    which = draw(st.sampled_from([(6, 5), (6, 5, 3), (30,), "rows"]))
    n = draw(st.sampled_from([3, 9, 2, 1, 0]))
    if draw(st.integers(0, 3)) != 2:
        shape = (n, *((30,) if which == "rows" else which))
    else:
        shape = draw(shapes(n))
    return which, draw(values(shape))


def test_generated_questions(fitted):
    outcomes, n = Outcomes(), 350

    @settings(max_examples=n, **FUZZ)
    @given(questions())
    def check(question):
        which, X = question
        clf, before = fitted[which], kept(X)
        try:
            clf.predict(X)
        except DOCUMENTED as error:
            outcomes.refused(error)
            for method in (clf.transform, clf.predict_proba, clf.unknown_score):
                with pytest.raises(type(error)):
                    method(X)
            return
        finally:
            assert_kept(X, before)
        check_embeddings(clf, X, len(X))
        check_classes(clf, X, len(X))
        as_floats = np.asarray(X, np.float64)  # the dtype does not decide
        np.testing.assert_allclose(
            clf.transform(as_floats), clf.transform(X), atol=1e-4
        )
        outcomes.counts["answered"] += 1

    check()
    outcomes.report(n, at_least=n // 3)


@st.composite
def chunks(draw):
    """Draw up to three steps of a stream, most of them in order."""
    steps = []
    for _ in range(draw(st.integers(1, 3))):
        n = draw(st.sampled_from([8, 12, 4, 1]))
        good = draw(st.integers(0, 3)) != 2
        shape = (n, 6, 5) if good else draw(shapes(n))
        method = draw(st.sampled_from(["partial_fit", "enroll"]))
        steps.append((method, draw(values(shape)), draw(labels(n))))
    return steps


def test_generated_streams():
    outcomes, n = Outcomes(), 150
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 100, (12, 6, 5)), np.arange(12) % 4
    start = torch.random.get_rng_state()

    @settings(max_examples=n, **FUZZ)
    @given(chunks())
    def check(steps):
        clf = SiameseClassifier(**SMALL).partial_fit(X, y, classes=np.arange(4))
        for method, chunk, chunk_labels in steps:
            before = clf.classes_.copy(), clf.transform(X)
            try:
                getattr(clf, method)(chunk, chunk_labels)
            except DOCUMENTED as error:
                outcomes.refused(error)
                np.testing.assert_array_equal(clf.classes_, before[0])
                np.testing.assert_array_equal(clf.transform(X), before[1])
                continue
            if method == "enroll":
                joined = np.union1d(before[0], chunk_labels)
                np.testing.assert_array_equal(clf.classes_, joined)
                np.testing.assert_array_equal(clf.transform(X), before[1])
            else:
                np.testing.assert_array_equal(clf.classes_, before[0])
            check_embeddings(clf, X, len(X))
            check_classes(clf, X, len(X))
            outcomes.counts["answered"] += 1

    check()
    outcomes.report(n, at_least=n // 5)
    assert torch.equal(torch.random.get_rng_state(), start)
