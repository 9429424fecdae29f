"""CPU and GPU agree; run where there is a CUDA device."""

import numpy as np
import pytest
import torch

from sksiamese import SiameseClassifier

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
