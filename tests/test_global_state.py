"""Whatever happens in a call, the process is afterwards as it was before."""

import copy
import gc
import os
import signal
import tempfile
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import sklearn
import torch
from skorch.callbacks import Callback

from sksiamese import SiameseClassifier, SiameseEmbedder, SiameseVerifier
from sksiamese.search import Gallery
from tests.test_concurrency import generators

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SMALL = {"max_epochs": 2, "random_state": 0, "batch_size": 32}


def torch_settings():
    """All that PyTorch keeps for the process or the thread."""
    cudnn = torch.backends.cudnn
    return {
        "threads": torch.get_num_threads(),
        "interop threads": torch.get_num_interop_threads(),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "autocast": {d: torch.is_autocast_enabled(d) for d in ("cpu", "cuda")},
        "autocast dtype": {d: torch.get_autocast_dtype(d) for d in ("cpu", "cuda")},
        "autocast cache": torch.is_autocast_cache_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "deterministic warns": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic),
        "tf32": (cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32),
        "matmul": torch.get_float32_matmul_precision(),
        "mkldnn": torch.backends.mkldnn.flags is not None
        and torch.backends.mkldnn.enabled,
        "flush denormal": (torch.full((1,), 1e-310, dtype=torch.float64) * 1).item(),
        "print": vars(torch._tensor_str.PRINT_OPTS).copy(),
    }


def process_settings():
    """All that Python, NumPy, scikit-learn and matplotlib keep for the process."""
    signals = {s: signal.getsignal(s) for s in signal.valid_signals()}
    return {
        "generators": generators(),
        "warnings": list(warnings.filters),
        "show warning": warnings.showwarning,
        "signals": signals,
        "environment": {k: v for k, v in os.environ.items() if "PYTEST" not in k},
        "directory": Path.cwd(),
        "temporary files": sorted(os.listdir(tempfile.gettempdir())),
        "umask": current_umask(),
        "numpy errors": np.geterr(),
        "numpy print": np.get_printoptions(),
        "scikit-learn": sklearn.get_config(),
        "matplotlib": (dict(matplotlib.rcParams), matplotlib.get_backend()),
        "gc": (gc.isenabled(), gc.get_threshold()),
    }


def current_umask():
    """Read the permissions of new files, which can only be read by setting them."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def settings():
    """All settings that a call might leave changed."""
    return {**torch_settings(), **process_settings()}


@pytest.fixture
def unchanged(tmp_path, monkeypatch):
    """Set what can be set to other values than usual; they must be the same after."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    torch.manual_seed(1234)
    matmul = torch.get_float32_matmul_precision()
    cudnn = torch.backends.cudnn
    flags = {"enabled": True, "benchmark": True, "deterministic": False}
    torch.set_float32_matmul_precision("high")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with (
            torch.random.fork_rng([]),
            cudnn.flags(**flags),
            np.errstate(under="warn"),
            sklearn.config_context(assume_finite=False, print_changed_only=False),
            matplotlib.rc_context({"figure.dpi": 77}),
        ):
            before = copy.deepcopy(settings())
            yield
            after = settings()
            assert {k for k in before if before[k] != after[k]} == set()
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_float32_matmul_precision(matmul)


@pytest.fixture(scope="module")
def few(digits):
    """Take the first of the digits."""
    X, y, _, _ = digits
    return X[:120], y[:120]


@pytest.fixture(scope="module")
def fitted(few):
    """Fit a classifier to be read and never changed."""
    return SiameseClassifier(**SMALL).fit(*few)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"backbone": "mlp", "classifier": "knn", "precision": "bfloat16"},
        {"loss": "logistic", "early_stopping": True, "n_prototypes": 2, "verbose": 1},
        {"unknown": "reject", "max_fpr": 0.3, "lr_schedule": "cosine"},
        {"augment": torch.nn.Dropout(0.1), "priors": "train"},
    ],
    ids=str,
)
def test_fit_leaves_the_process_as_it_was(few, unchanged, params):
    SiameseClassifier(**{**SMALL, "validation_fraction": 0.3, **params}).fit(*few)


def test_partial_fit_leaves_the_process_as_it_was(few, unchanged):
    SiameseClassifier(**SMALL).partial_fit(*few).partial_fit(*few)


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "transform", "unknown_score"]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_questions_leave_the_process_as_it_was(few, fitted, unchanged, method, dtype):
    getattr(fitted, method)(few[0].astype(dtype))


def test_pairs_leave_the_process_as_it_was(few, fitted, unchanged):
    fitted.pair_distance((few[0], few[0][::-1]))


def test_enroll_leaves_the_process_as_it_was(few, fitted, unchanged):
    copy.deepcopy(fitted).enroll(few[0][:4], [100, 100, 101, 102])


def test_verifier_leaves_the_process_as_it_was(few, unchanged):
    verifier = SiameseVerifier(SiameseEmbedder(**SMALL), random_state=0).fit(*few)
    verifier.predict((few[0], few[0][::-1]))
    verifier.calibrate(*few)


def test_gallery_leaves_the_process_as_it_was(few, fitted, unchanged):
    gallery = Gallery(fitted)
    gallery.add(few[0])
    gallery.search(few[0], 3)
    gallery.close()


class Planned(Exception):
    """What the caller's own part raises."""


ENDS = [Planned, KeyboardInterrupt, SystemExit, MemoryError]


class Raising:
    """Raise in the third call, to strike in the midst of things."""

    def __init__(self, error):
        self.error, self.n_calls = error, 0

    def strike(self):
        self.n_calls += 1
        if self.n_calls == 3:
            raise self.error


def in_callback(event, error):
    """Build a callback that raises at an event."""

    def raise_it(self, net, **kwargs):
        raise error

    return {"callbacks": [type("Fails", (Callback,), {event: raise_it})()]}


class Failing(torch.nn.Module):
    """A loss that stops the training."""

    def __init__(self, error):
        super().__init__()
        self.raising = Raising(error)

    def forward(self, embeddings, labels):
        self.raising.strike()
        return embeddings.square().mean()


class FailingBackward(torch.autograd.Function):
    """Identity whose gradient raises, deep in PyTorch."""

    @staticmethod
    def forward(ctx, z, error):
        ctx.error = error
        return z.clone()

    @staticmethod
    def backward(ctx, grad):
        raise ctx.error


class BackwardLoss(torch.nn.Module):
    """A loss that stops the training on the way back."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, embeddings, labels):
        return FailingBackward.apply(embeddings, self.error).square().mean()


def augmentation(error):
    """Build an augmentation that raises."""
    raising = Raising(error)

    def augment(x):
        raising.strike()
        return x

    return augment


PLACES = {
    "callback at the begin": lambda e: in_callback("on_train_begin", e),
    "callback in a batch": lambda e: in_callback("on_batch_end", e),
    "callback at the end": lambda e: in_callback("on_train_end", e),
    "loss": lambda e: {"loss": Failing(e)},
    "gradient": lambda e: {"loss": BackwardLoss(e)},
    "augmentation": lambda e: {"augment": augmentation(e)},
}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("error", ENDS)
@pytest.mark.parametrize("place", PLACES)
def test_failure_leaves_the_process_as_it_was(few, unchanged, place, error, method):
    embedder = SiameseEmbedder(**SMALL, **PLACES[place](error("as planned")))
    try:
        for _ in range(3):  # one chunk has few batches
            getattr(embedder, method)(*few)
    except error:
        return
    # Ctrl-C ends a training; the estimator keeps what it had learned.
    assert error is KeyboardInterrupt


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    "params",
    [{"lr": 1e30, "lr_schedule": "constant", "normalize": False}, {"backbone": "no"}],
    ids=str,
)
def test_refused_fit_leaves_the_process_as_it_was(few, unchanged, params, method):
    embedder = SiameseEmbedder(**{**SMALL, **params})
    with pytest.raises(ValueError):
        for _ in range(5):
            getattr(embedder, method)(*few)


def test_bad_questions_leave_the_process_as_it_was(few, fitted, unchanged):
    for X in (
        few[0][:, 1:],
        few[0] * np.nan,
        few[0].astype(float) * 1e300,
        "no images",
    ):
        with pytest.raises(ValueError):
            fitted.predict(X)


def test_failing_question_leaves_the_process_as_it_was(few, unchanged):
    class Fragile(torch.nn.Module):
        broken = False

        def __init__(self):
            super().__init__()
            with torch.random.fork_rng([]):
                self.layer = torch.nn.Linear(64, 4)

        def forward(self, x):
            if self.broken:
                raise Planned
            return self.layer(x.flatten(1))

    embedder = SiameseEmbedder(Fragile(), **SMALL).fit(*few)
    embedder.net_.module_.backbone.broken = True
    with pytest.raises(Planned):
        embedder.transform(few[0])
