"""CPU and GPU agree; run where there is a CUDA device."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sksiamese import SiameseClassifier, SiameseEmbedder
from sksiamese._batches import ResidentData
from sksiamese.losses import LOSSES
from sksiamese.mining import pair_masks, pairwise_distances, semihard_negatives

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_gpu_learns_as_well_and_predicts_the_same_on_the_cpu(digits):
    X, y, X_new, y_new = digits
    there = SiameseClassifier(max_epochs=15, random_state=0, device="cuda").fit(X, y)
    here = SiameseClassifier(max_epochs=15, random_state=0, device="cpu").fit(X, y)
    assert abs(there.score(X_new, y_new) - here.score(X_new, y_new)) < 0.02
    on_gpu = there.transform(X_new)
    there.net_.set_params(device="cpu")
    there.net_.module_.to("cpu")
    np.testing.assert_allclose(there.transform(X_new), on_gpu, atol=1e-3)


def test_gpu_repeats_bit_for_bit(digits):
    X, y, X_new, _ = digits
    Z = [
        SiameseClassifier(max_epochs=3, random_state=0, device="cuda")
        .fit(X, y)
        .transform(X_new)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*Z)


@pytest.mark.parametrize("rows", [slice(3, 9), np.array([5, 1, 1, 8])])
@pytest.mark.parametrize("resident", [True, False])
def test_gpu_takes_the_batches_that_the_cpu_takes(monkeypatch, resident, rows):
    X = np.random.default_rng(0).integers(0, 256, (20, 6, 6), np.uint8)
    y = np.arange(20)
    if not resident:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
    there = ResidentData(X, y, rows=np.arange(19, -1, -1), device="cuda")
    assert isinstance(there.X, torch.Tensor) == resident
    here = ResidentData(X, y, rows=np.arange(19, -1, -1))
    for on_gpu, on_cpu in zip(there.take(rows), here.take(rows), strict=True):
        assert on_gpu.device.type == "cuda"
        torch.testing.assert_close(on_gpu.cpu(), on_cpu)


def test_gpu_chooses_the_negatives_that_the_cpu_chooses():
    torch.manual_seed(0)
    distances = pairwise_distances(torch.randn(60, 8))
    positives, negatives = pair_masks(torch.arange(60) % 5)
    here = semihard_negatives(distances, negatives)
    there = semihard_negatives(distances.cuda(), negatives.cuda()).cpu()
    torch.testing.assert_close(there[positives], here[positives])


class NoWaiting(Callback):
    """Let any operation fail that waits for the device within a step."""

    def on_batch_begin(self, net, **kwargs):
        torch.cuda.set_sync_debug_mode("error")

    def on_batch_end(self, net, **kwargs):
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    "params",
    [
        *({"loss": loss} for loss in LOSSES),
        {"augment_minority": 3.0, "class_weight": "balanced"},
        {"pair_budget": "natural"},
    ],
    ids=str,
)
def test_gpu_step_does_not_wait_for_the_device(digits, params):
    X, y, _, _ = digits
    embedder = SiameseEmbedder(
        **params,
        max_epochs=2,
        device="cuda",
        random_state=0,
        callbacks=[NoWaiting()],
        validation_fraction=0,
    )
    try:
        embedder.fit(X, y)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert embedder.n_iter_ == 2
