"""SiameseEmbedder: embeddings, pairs, training."""

import pickle
import warnings

import kornia.augmentation
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import KNeighborsClassifier
from skorch.callbacks import Callback, Checkpoint, EarlyStopping
from torchvision.transforms import v2

from sksiamese import SiameseEmbedder
from sksiamese.losses import ContrastiveLoss
from sksiamese.metrics import pair_roc_auc


def fast(**params):
    return SiameseEmbedder(**{"max_epochs": 3, "random_state": 0, **params})


def test_transform_brings_classes_together(digits):
    X, y, X_new, y_new = digits
    embedder = SiameseEmbedder(max_epochs=12, random_state=0).fit(X, y)
    raw = X_new.reshape(len(X_new), -1)
    learned = embedder.transform(X_new)
    assert pair_roc_auc(raw, y_new) < pair_roc_auc(learned, y_new) - 0.02
    assert pair_roc_auc(learned, y_new) > 0.985
    knn = KNeighborsClassifier(1).fit(embedder.transform(X), y)
    assert knn.score(learned, y_new) > 0.96


def test_transform_returns_unit_vectors_of_float32(digits):
    X, y, X_new, _ = digits
    Z = fast(embedding_dim=17).fit(X, y).transform(X_new)
    assert Z.shape == (len(X_new), 17)
    assert Z.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(Z, axis=1), 1, rtol=1e-5)


def test_normalize_false_leaves_lengths_free(digits):
    X, y, X_new, _ = digits
    Z = fast(normalize=False).fit(X, y).transform(X_new)
    assert np.ptp(np.linalg.norm(Z, axis=1)) > 0.1


def test_fit_transform_equals_fit_then_transform(digits):
    X, y, _, _ = digits
    np.testing.assert_array_equal(
        fast().fit_transform(X, y), fast().fit(X, y).transform(X)
    )


def test_images_and_flattened_rows_give_the_same_embedding(digits):
    X, y, X_new, _ = digits
    images = fast().fit(X, y)
    rows = fast(image_shape=(8, 8)).fit(X.reshape(len(X), -1), y)
    np.testing.assert_array_equal(
        images.transform(X_new), rows.transform(X_new.reshape(len(X_new), -1))
    )


@pytest.mark.parametrize(
    "loss", ["contrastive", "triplet", "multi_similarity", "supervised_contrastive"]
)
def test_every_loss_trains(digits, loss):
    X, y, X_new, y_new = digits
    embedder = fast(loss=loss, max_epochs=8).fit(X, y)
    assert pair_roc_auc(embedder.transform(X_new), y_new) > 0.93


@pytest.mark.parametrize("mining", ["all", "semihard", "hard"])
def test_every_mining_trains(digits, mining):
    X, y, X_new, y_new = digits
    embedder = fast(mining=mining, max_epochs=8).fit(X, y)
    assert pair_roc_auc(embedder.transform(X_new), y_new) > 0.93


def test_losses_of_pytorch_metric_learning_train_with_their_own_parameters(digits):
    from pytorch_metric_learning import losses

    X, y, X_new, y_new = digits
    proxies = losses.ProxyAnchorLoss(num_classes=10, embedding_size=64)
    before = proxies.proxies.detach().clone()
    for loss in (losses.TripletMarginLoss(), losses.CircleLoss(), proxies):
        embedder = fast(loss=loss, max_epochs=8).fit(X, y)
        assert pair_roc_auc(embedder.transform(X_new), y_new) > 0.93
    # The proxies were trained in a copy; the caller's are as they were.
    assert torch.equal(proxies.proxies, before)
    assert not torch.equal(embedder.net_.criterion_.proxies.detach(), before)


def test_early_stopping_restores_the_best_epoch(digits):
    X, y, _, _ = digits
    # A rate that ruins the network after some epochs.
    embedder = fast(
        early_stopping=True, n_iter_no_change=2, max_epochs=40, lr_schedule="constant"
    ).fit(X, y)
    scores = embedder.history_["validation_score"]
    assert embedder.n_iter_ < 40
    assert embedder.n_iter_ == np.argmax(scores) + 1 + 2

    class Recorder(Callback):
        def on_epoch_end(self, net, **kwargs):
            if net.history[-1]["epoch"] == np.argmax(scores) + 1:
                probe = net.embed(X[:5])
                net.history.record("probe", probe.tolist())

    again = clone(embedder).set_params(callbacks=[Recorder()]).fit(X, y)
    best = again.net_.history[int(np.argmax(scores)), "probe"]
    np.testing.assert_allclose(again.transform(X[:5]), best, atol=1e-6)


def test_ctrl_c_leaves_a_usable_estimator_and_a_warning(digits):
    X, y, X_new, _ = digits

    class Interrupt(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            if len(net.history) == 3:
                raise KeyboardInterrupt

    with pytest.warns(ConvergenceWarning, match="interrupted after 2 epochs"):
        embedder = fast(max_epochs=50, callbacks=[Interrupt()]).fit(X, y)
    assert embedder.n_iter_ == 2
    assert len(embedder.history_["loss"]) == 2
    assert np.isfinite(embedder.transform(X_new)).all()


def test_callback_that_stops_is_no_interruption(digits):
    X, y, _, _ = digits
    stopping = EarlyStopping("train_loss", patience=1, threshold=10.0, sink=str)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embedder = fast(max_epochs=50, callbacks=[stopping]).fit(X, y)
    assert embedder.n_iter_ < 50


def test_callbacks_are_copied(digits):
    X, y, _, _ = digits

    class Count(Callback):
        calls = 0

        def on_epoch_end(self, net, **kwargs):
            self.calls += 1

    count = Count()
    embedder = fast(callbacks=[count]).fit(X, y)
    assert count.calls == 0
    copies = [cb for _, cb in embedder.net_.callbacks_ if isinstance(cb, Count)]
    assert copies[0].calls == 3


def test_warm_start_goes_on_from_the_previous_weights(digits):
    X, y, X_new, y_new = digits
    embedder = fast(warm_start=True, max_epochs=4, lr=1e-3).fit(X, y)
    first = embedder.history_["loss"]
    embedder.fit(X, y)
    assert embedder.history_["loss"][0] < 0.7 * first[0]
    with pytest.raises(ValueError, match="samples of shape"):
        embedder.fit(X[:, :6], y)


@pytest.mark.parametrize("lr_schedule", ["one_cycle", "cosine", "constant"])
def test_lr_schedule_is_followed(digits, lr_schedule):
    X, y, _, _ = digits
    rates = []

    class Watch(Callback):
        def on_batch_end(self, net, **kwargs):
            rates.append(net.optimizer_.param_groups[0]["lr"])

        def __deepcopy__(self, memo):
            return self

    fast(lr_schedule=lr_schedule, lr=1e-3, callbacks=[Watch()]).fit(X, y)
    if lr_schedule == "constant":
        assert set(rates) == {1e-3}
    else:
        assert max(rates) == pytest.approx(1e-3, rel=0.05)
        assert rates[-1] < 2e-5
        assert (rates[0] < 5e-4) == (lr_schedule == "one_cycle")


def test_net_params_win_over_the_estimators(digits):
    X, y, _, _ = digits
    net_params = {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9}
    embedder = fast(net_params=net_params, lr=0.05).fit(X, y)
    assert isinstance(embedder.net_.optimizer_, torch.optim.SGD)
    assert embedder.net_.optimizer_.param_groups[0]["momentum"] == 0.9


def test_weight_decay_spares_biases_and_scales(digits):
    X, y, _, _ = digits
    embedder = fast(weight_decay=0.3).fit(X, y)
    for group in embedder.net_.optimizer_.param_groups:
        for parameter in group["params"]:
            assert (group["weight_decay"] == 0.3) == (parameter.ndim > 1)


def test_verbose_shows_a_progress_bar_and_silence_is_the_default(digits, capsys):
    X, y, _, _ = digits
    fast(verbose=1).fit(X, y)
    shown = capsys.readouterr()
    assert "epoch=3/3" in shown.err
    assert "loss=" in shown.err
    fast().fit(X, y)
    shown = capsys.readouterr()
    assert shown.err == shown.out == ""


def test_collapse_is_told(digits):
    X, y, _, _ = digits

    class Collapse(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, x):
            ones = torch.ones(len(x), 4) * self.weight
            return ones + 1e-5 * x.flatten(1)[:, :4]

    with pytest.warns(ConvergenceWarning, match="collapsed to a point"):
        fast(backbone=Collapse()).fit(X, y)


def test_score_at_chance_is_told(digits):
    X, y, _, _ = digits
    random_labels = np.random.default_rng(0).permutation(y % 2)
    with pytest.warns(ConvergenceWarning, match="stayed at chance"):
        fast().fit(X, random_labels)


def test_diverging_loss_is_an_error_that_names_lr(digits):
    X, y, _, _ = digits
    embedder = fast(lr=1e30, normalize=False, lr_schedule="constant")
    with pytest.raises(ValueError, match=r"loss became .* in epoch .*lower lr"):
        embedder.fit(X, y)


def test_class_with_one_image_trains_as_negative_and_is_named(digits):
    X, y, _, _ = digits
    y = np.where(np.arange(len(y)) == 0, 77, y)
    with pytest.warns(UserWarning, match="Classes with one image: 77") as record:
        fast().fit(X, y)
    assert len(record) == 1


def test_imbalance_of_1_to_56_is_learned():
    rng = np.random.default_rng(0)
    n, minority = 1140, 20
    y = np.r_[np.ones(minority, int), np.zeros(n - minority, int)]
    X = rng.normal(size=(n, 8, 8))
    X[y == 1, 2:5, 2:5] += 1.5
    X_new = rng.normal(size=(400, 8, 8))
    X_new[:200, 2:5, 2:5] += 1.5
    embedder = SiameseEmbedder(max_epochs=10, random_state=0, validation_fraction=0)
    Z = embedder.fit(X, y).transform(X_new)
    assert pair_roc_auc(Z, np.arange(400) < 200) > 0.85


def test_augment_callable_is_used_in_training_only(digits):
    X, y, _, _ = digits
    shapes = []

    def record(batch):
        shapes.append(tuple(batch.shape))
        return batch

    embedder = fast(augment=record).fit(X, y)
    seen = len(shapes)
    assert seen == 3 * 7  # 810 images in batches of 120
    embedder.transform(X)
    assert len(shapes) == seen
    assert shapes[0][1:] == (1, 8, 8)


def test_step_embeds_each_image_of_a_batch_once(digits):
    """Forward passes per step are counted: the point of forming pairs afterwards."""
    X, y, _, _ = digits
    seen = []

    class Counting(torch.nn.Sequential):
        def forward(self, x):
            if self.training:
                seen.append(len(x))
            return super().forward(x)

    backbone = Counting(torch.nn.Flatten(), torch.nn.Linear(64, 8))
    embedder = fast(backbone=backbone, max_epochs=1, validation_fraction=0).fit(X, y)
    n_steps = len(embedder.net_.get_iterator(embedder.net_.get_dataset(X, y), True))
    assert len(seen) == n_steps
    assert set(seen) == {120}  # 10 classes x 12 images


def test_partial_fit_streams_and_goes_on(digits):
    X, y, X_new, y_new = digits
    embedder = fast()
    for _ in range(4):
        for start in range(0, len(X), 300):
            embedder.partial_fit(X[start : start + 300], y[start : start + 300])
    assert len(embedder.history_["loss"]) == embedder.n_iter_ > 8
    assert pair_roc_auc(embedder.transform(X_new), y_new) > 0.93


def test_partial_fit_after_fit_keeps_what_was_learned(digits):
    X, y, X_new, y_new = digits
    embedder = fast(max_epochs=10).fit(X, y)
    before = pair_roc_auc(embedder.transform(X_new), y_new)
    embedder.partial_fit(X, y)
    assert pair_roc_auc(embedder.transform(X_new), y_new) > before - 0.02


def test_custom_loss_module_is_called_with_embeddings_and_labels(digits):
    X, y, _, _ = digits
    seen = []

    class Spy(ContrastiveLoss):
        def forward(self, embeddings, labels):
            seen.append((embeddings.shape, labels.dtype))
            return super().forward(embeddings, labels)

    fast(loss=Spy(), max_epochs=1).fit(X, y)
    assert seen[0] == ((120, 64), torch.int64)


def test_feature_names_out_are_numbered(digits):
    X, y, _, _ = digits
    names = fast(embedding_dim=3).fit(X, y).get_feature_names_out()
    assert list(names) == [f"siameseembedder{k}" for k in range(3)]


def test_ctrl_c_while_scoring_is_an_interruption(digits, monkeypatch):
    X, y, _, _ = digits

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("sksiamese._callbacks.pair_roc_auc", interrupt)
    with pytest.warns(ConvergenceWarning, match="interrupted after"):
        fast(max_epochs=5).fit(X, y)


def test_augment_module_is_copied(digits):
    X, y, _, _ = digits
    augment = torch.nn.Conv2d(1, 1, 1, bias=False)
    augment.weight.data.fill_(1)
    before = augment.weight.detach().clone()
    embedder = fast(augment=augment).fit(X, y)
    assert torch.equal(augment.weight, before)
    assert not torch.equal(embedder.net_.module_.augmentation.weight, before)


def test_checkpoints_of_skorch_find_their_scores(digits, tmp_path):
    X, y, _, _ = digits
    checkpoint = Checkpoint("valid_score_best", dirname=tmp_path)
    fast(callbacks=[checkpoint]).fit(X, y)
    assert (tmp_path / "params.pt").exists()


@pytest.mark.parametrize(
    "augment",
    [
        v2.Compose([v2.RandomAffine(8, (0.06, 0.06)), v2.ColorJitter(0.1, 0.1)]),
        kornia.augmentation.RandomAffine(8.0, (0.06, 0.06)),
        "light",
        "strong",
    ],
    ids=lambda a: a if isinstance(a, str) else type(a).__name__,
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_augment_of_any_kind_trains_and_repeats(digits, augment, dtype):
    X, y, X_new, y_new = digits
    if dtype == np.uint8:
        X, X_new = 15 * X, 15 * X_new
    else:  # as raw as they come, for which both expect values between 0 and 1
        X, X_new = (images.astype(dtype) / 16 for images in (X, X_new))
    before = repr(augment)
    embedders = [fast(augment=augment, max_epochs=5).fit(X, y) for _ in range(2)]
    Z = [embedder.transform(X_new) for embedder in embedders]
    np.testing.assert_array_equal(*Z)
    assert pair_roc_auc(Z[0], y_new) > 0.93
    assert repr(augment) == before
    pickle.loads(pickle.dumps(embedders[0])).partial_fit(X[:200], y[:200])
