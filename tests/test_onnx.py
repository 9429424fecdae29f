"""ONNX files, run by onnxruntime, against the estimators that they were made of."""

import json
import pickle
import random
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from scipy.spatial.distance import pdist
from sklearn.base import clone
from sklearn.datasets import load_iris, load_sample_images
from sklearn.exceptions import NotFittedError
from torch import nn
from torch.torch_version import TorchVersion
from torchvision import models

from sksiamese import SiameseClassifier, SiameseEmbedder, _onnx

pytestmark = pytest.mark.skipif(
    torch.__version__ < (2, 9), reason="the exporter of PyTorch 2.9 is needed"
)
# Of a value of an embedding of unit length, a probability or a distance.
TOLERANCE = 1e-4


def embedder(**params):
    quick = {"max_epochs": 1, "validation_fraction": 0, "random_state": 0}
    return SiameseEmbedder(**{**quick, **params})


def classifier(**params):
    return SiameseClassifier(**{"max_epochs": 4, "random_state": 0, **params})


def run(estimator, path, X):
    """Export an estimator and run the file on images, by the names of the outputs."""
    estimator.to_onnx(path)
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": X}), strict=True))


def assert_embeds_alike(estimator, path, X):
    """Compare with ``transform`` for batches of 1, 7 and 64."""
    estimator.to_onnx(path)
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path)
    for images in (X[:1], X[1:8], X[:64]):
        (found,) = session.run(None, {"images": images})
        assert found.dtype == np.float32
        expected = estimator.transform(images)
        scale = np.linalg.norm(expected, axis=1).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * scale)
    assert np.median(pdist(expected)) > 0.02 * scale  # or much would look alike


def assert_classifies_alike(estimator, path, X):
    """Compare all outputs with the estimator's methods; return the labels."""
    found = run(estimator, path, X)
    assert list(found) == ["embeddings", "probabilities", "labels", "unknown_score"]
    expected = {
        "embeddings": estimator.transform(X),
        "probabilities": estimator.predict_proba(X),
        "unknown_score": estimator.unknown_score(X),
    }
    for name, values in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], values, rtol=0, atol=TOLERANCE)
    return found["labels"]


def metadata(path):
    """Read what a file says of itself."""
    properties = onnx.load(path).metadata_props
    return {entry.key: json.loads(entry.value) for entry in properties}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


@pytest.fixture(scope="module")
def few(digits):
    """Digits, 300 to train on; new ones."""
    X, y, X_new, y_new = digits
    return X[:300], y[:300], X_new[:100], y_new[:100]


@pytest.fixture(scope="module")
def patches():
    """Patches of 16 x 16 in colour of two photographs, in random order; labels."""
    parts = [
        photo[:416, :640]
        .reshape(26, 16, 40, 16, 3)
        .swapaxes(1, 2)
        .reshape(-1, 16, 16, 3)
        for photo in load_sample_images().images
    ]
    order = np.random.default_rng(0).permutation(2 * len(parts[0]))[:300]
    y = np.repeat([0, 1], len(parts[0]))
    return np.concatenate(parts)[order], y[order]


@pytest.fixture(scope="module")
def rejecting(digits):
    """Fit a classifier of digits 0 to 6 that calls others unknown; never changed."""
    X, y, _, _ = digits
    params = {"unknown": "reject", "n_prototypes": 3, "priors": "train"}
    known = y < 7
    return classifier(**params, validation_fraction=0.2).fit(X[known], y[known])


# --- the embedding -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint16", "float16", "float32", "float64", ">i2"])
def test_input_has_the_dtype_of_the_training_images(few, path, dtype):
    X, y, X_new, _ = few
    fitted = embedder(backbone="mlp").fit(X.astype(dtype), y)
    native = np.dtype(dtype).newbyteorder("=")
    assert_embeds_alike(fitted, path, X_new.astype(native))


def test_grey_images_through_convolutions_are_embedded_alike(few, path):
    X, y, X_new, _ = few
    assert_embeds_alike(embedder().fit(X, y), path, X_new)


@pytest.mark.parametrize("image_size", [(11, 14), 24, (24, 12)])
def test_resizing_of_colour_images_is_in_the_file(patches, path, image_size):
    X, y = patches
    fitted = embedder(image_size=image_size).fit(X, y)
    assert_embeds_alike(fitted, path, X)
    assert metadata(path) == {"image_shape": [16, 16, 3]}


def test_pretrained_network_on_grey_images_is_embedded_alike(few, path, tmp_path):
    X, y, X_new, _ = few
    torch.manual_seed(0)
    weights = tmp_path / "weights.pt"
    torch.save(models.squeezenet1_1().state_dict(), weights)
    params = {"backbone": "squeezenet1_1", "weights": weights, "image_size": 32}
    fitted = embedder(**params, lr=1e-4).fit(X[:60] * 15, y[:60])
    assert_embeds_alike(fitted, path, X_new * 15)


@pytest.mark.parametrize(
    "backbone", ["conv16-32-64", "conv16-32-16", "conv4-16-tanh", "dense128"]
)
def test_published_networks_are_embedded_alike(patches, path, backbone):
    X, y = patches
    assert_embeds_alike(embedder(backbone=backbone).fit(X, y), path, X)


def test_embeddings_of_any_length_are_embedded_alike(few, path):
    X, y, X_new, _ = few
    assert_embeds_alike(embedder(normalize=False).fit(X, y), path, X_new)


def test_feature_vectors_are_embedded_alike(path):
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    fitted = embedder().fit(X[order], y[order])
    assert_embeds_alike(fitted, path, X[order])


def test_vectors_of_large_offset_keep_their_precision(path):
    """Rounded to float32, differences of a thousandth would be gone at a million."""
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X = X[order] * 1e-3 + 1e6
    assert_embeds_alike(embedder().fit(X, y[order]), path, X)


def test_flattened_images_are_taken_as_images(few, path):
    X, y, X_new, _ = few
    rows = X.reshape(len(X), -1)
    fitted = embedder(image_shape=(8, 8)).fit(rows, y)
    found = run(fitted, path, X_new)["embeddings"]
    expected = fitted.transform(X_new.reshape(len(X_new), -1))
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_compiled_network_is_exported_as_the_plain_one(few, path):
    X, y, X_new, _ = few
    eager = {"compile": True, "compile__backend": "eager"}
    fitted = embedder(backbone="mlp", net_params=eager).fit(X, y)
    assert_embeds_alike(fitted, path, X_new)
    assert hasattr(fitted.net_.module_, "_orig_mod")


class Custom(nn.Module):
    """Network of a user, which keeps an odd habit of a test."""

    def __init__(self, habit=None):
        super().__init__()
        self.layer, self.habit = nn.Linear(64, 8), habit

    def forward(self, x):
        z = self.layer(x.flatten(1))
        return z if self.habit is None else self.habit(z)


def by_values(z):
    """Decide by the values."""
    return z * 2 if bool(z.sum() > 0) else z


def by_number(z):
    """Decide by the number of images."""
    return z * 2 if len(z) > 10 else z


def by_halves(z):
    """Take even numbers of images only, which ``fit`` does not notice here."""
    return z.view(2, -1, 8).flatten(0, 1)


def test_module_of_the_user_is_embedded_alike(few, path):
    X, y, X_new, _ = few
    assert_embeds_alike(embedder(backbone=Custom()).fit(X, y), path, X_new)


# --- the classifier ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("int64", {"priors": "train", "n_prototypes": 3}),
        ("int8", {"class_weight": {0: 5.0, 3: 0.2}}),
        ("U", {"normalize": False}),
        (object, {"priors": dict.fromkeys("0123456789", 0.1), "backbone": "mlp"}),
        ("float64", {"backbone": "mlp"}),
        ("uint64", {"backbone": "mlp"}),
    ],
)
def test_labels_and_probabilities_are_those_of_the_classifier(few, path, kind, params):
    X, y, X_new, _ = few
    y = y.astype(str if kind is object else kind)
    fitted = classifier(**params).fit(X, y.astype(kind))
    labels = assert_classifies_alike(fitted, path, X_new)
    assert np.array_equal(labels, fitted.predict(X_new))
    assert labels.dtype == (object if kind in ("U", object) else np.int64)
    said = metadata(path)
    assert said["classes"] == fitted.classes_.tolist()
    assert said["labels"] == "classes"


@pytest.mark.parametrize("offset", [None, 2**63])
def test_labels_that_onnx_lacks_are_indices(few, path, offset):
    X, y, X_new, _ = few
    y = y > 4 if offset is None else y.astype(np.uint64) + offset
    fitted = classifier(backbone="mlp").fit(X, y)
    labels = assert_classifies_alike(fitted, path, X_new)
    assert labels.dtype == np.int64
    assert np.array_equal(fitted.classes_[labels], fitted.predict(X_new))
    assert metadata(path)["labels"] == "indices"


def test_unknown_images_get_their_label(digits, rejecting, path):
    X_new, y_new = digits[2:]
    labels = assert_classifies_alike(rejecting, path, X_new)
    assert np.array_equal(labels, rejecting.predict(X_new))
    unknown = labels == -1
    assert unknown[y_new < 7].mean() < 0.2 < unknown[y_new >= 7].mean()
    said = metadata(path)
    assert said["unknown_label"] == -1
    assert said["unknown_threshold"] == rejecting.unknown_threshold_


def test_enrolled_class_and_the_forerunner_are_in_the_file(digits, rejecting, path):
    X, y, X_new, _ = digits
    grown = pickle.loads(pickle.dumps(rejecting)).enroll(X[y == 8], y[y == 8])
    labels = assert_classifies_alike(grown, path, X_new)
    assert np.array_equal(labels, grown.predict(X_new))
    assert set(labels) == {*range(7), 8, -1}
    # By the head alone some images would be farther than they are.
    alone = grown.head_.novelty(grown.transform(X_new))
    assert (alone > grown.unknown_score(X_new) + TOLERANCE).any()


def test_label_of_the_unknown_stands_behind_indices():
    """Classes that int64 cannot hold, by the table alone: such a fit is rare."""
    table = np.array([2**63, 2**63 + 1, 7], dtype=np.uint64)
    assert _onnx._list_labels(table, 2)[1:] == ([0, 1, -1], "indices")


def test_class_without_an_image_has_no_probability(few, path):
    X, y, X_new, _ = few
    fitted = classifier(backbone="mlp").partial_fit(X, y, classes=[-5, *range(10), 99])
    assert_classifies_alike(fitted, path, X_new)
    probabilities = run(fitted, path, X_new)["probabilities"]
    assert (probabilities[:, [0, -1]] == 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_images_on_a_prototype_have_a_distance_of_nothing(few, path):
    """In single precision the squares would leave some ten thousandths."""
    X, y, _, _ = few
    fitted = classifier(backbone="mlp", n_prototypes=50, validation_fraction=0)
    fitted.fit(X, y)
    found = run(fitted, path, X)["unknown_score"]
    assert (found < 1e-6).mean() > 0.9
    np.testing.assert_allclose(found, fitted.unknown_score(X), rtol=0, atol=1e-6)


@pytest.mark.parametrize("head", ["knn"])
def test_other_heads_are_refused_with_what_to_do(few, path, head):
    X, y, _, _ = few
    fitted = classifier(backbone="mlp", classifier=head).fit(X, y)
    with pytest.raises(ValueError, match="classifier='knn'.*SiameseEmbedder.*skl2onnx"):
        fitted.to_onnx(path)
    assert not path.exists()


# --- the file ------------------------------------------------------------------------


def test_file_says_who_made_it_and_nothing_of_the_machine(few, rejecting, path):
    rejecting.to_onnx(path)
    model, content = onnx.load(path), path.read_bytes()
    assert model.producer_name == "sksiamese" and model.producer_version
    assert [entry.version for entry in model.opset_import] == [18]
    for private in (sys.prefix, _onnx.__file__, ".py", "forward"):
        assert private.encode() not in content


def test_equal_estimators_make_equal_files_and_links_stay(rejecting, tmp_path):
    target, link = tmp_path / "target.onnx", tmp_path / "link.onnx"
    other = tmp_path / "other.onnx"
    target.write_bytes(b"old")
    link.symlink_to(target)
    rejecting.to_onnx(link)
    pickle.loads(pickle.dumps(rejecting)).to_onnx(str(other))
    assert link.is_symlink() and target.read_bytes() == other.read_bytes()
    assert sorted(tmp_path.iterdir()) == [link, other, target]


def state(estimator):
    """All that might change in an estimator or around it."""
    module = estimator.net_.module_
    tensors = [
        (name, t.device.type, t.dtype, t.stride(), t.requires_grad, t.data_ptr())
        for name, t in [*module.named_parameters(), *module.named_buffers()]
    ]
    modes = [part.training for part in module.modules()]
    generators = torch.get_rng_state().tolist(), random.getstate()
    legacy = np.random.get_state()[1].tolist()  # noqa: NPY002
    around = torch.is_grad_enabled(), torch.get_num_threads(), torch.get_default_dtype()
    return tensors, modes, generators, legacy, around, sorted(vars(estimator))


@pytest.mark.parametrize("fails", [False, True])
def test_export_changes_nothing(few, path, fails, capfd):
    X, y, X_new, _ = few
    fitted = embedder(backbone=Custom(by_values if fails else None)).fit(X, y)
    before, embeddings = state(fitted), fitted.transform(X_new)
    if fails:
        with pytest.raises(ValueError, match="cannot be exported"):
            fitted.to_onnx(path)
    else:
        fitted.to_onnx(path)
    assert state(fitted) == before
    assert np.array_equal(fitted.transform(X_new), embeddings)
    assert fitted.net_.module_.augmentation is not None
    if not fails:
        assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("habit", [by_values, by_number, by_halves])
def test_network_that_decides_is_refused_and_the_old_file_stays(few, path, habit):
    X, y, _, _ = few
    fitted = embedder(backbone=Custom(habit)).fit(X, y)
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="cannot be exported to ONNX: its forward"):
        fitted.to_onnx(path)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_network_too_large_for_one_file_is_refused(few, path, monkeypatch):
    X, y, _, _ = few
    fitted = embedder(backbone="mlp").fit(X, y)
    monkeypatch.setattr(_onnx, "_MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="backbone='mlp' has weights of.*2 GiB"):
        fitted.to_onnx(path)
    assert not any(path.parent.iterdir())


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_missing_package_is_named_with_its_extra(rejecting, path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r'pip install "sksiamese\[onnx\]"'):
        rejecting.to_onnx(path)
    assert not any(path.parent.iterdir())


def test_older_pytorch_is_named(rejecting, path, monkeypatch):
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.8.1+cpu"))
    with pytest.raises(ImportError, match=r"needs PyTorch 2.9 or newer.*2\.8\.1"):
        rejecting.to_onnx(path)


def test_unfitted_estimators_are_refused(path):
    for estimator in (embedder(), classifier()):
        with pytest.raises(NotFittedError):
            estimator.to_onnx(path)


def test_missing_folder_is_an_error(rejecting, tmp_path):
    with pytest.raises(FileNotFoundError):
        rejecting.to_onnx(tmp_path / "none" / "model.onnx")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_estimator_trained_on_a_gpu_is_exported_from_a_copy(few, path):
    X, y, X_new, _ = few
    fitted = clone(classifier(device="cuda")).fit(X, y)
    labels = assert_classifies_alike(fitted, path, X_new)
    assert np.array_equal(labels, fitted.predict(X_new))
    assert next(fitted.net_.module_.parameters()).is_cuda
