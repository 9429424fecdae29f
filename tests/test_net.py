"""SiameseNet: the loop, what it records, and what it does not do."""

import pickle
import weakref

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch import NeuralNet

from sksiamese import SiameseEmbedder, _faults
from sksiamese._batches import ResidentData
from sksiamese._module import EmbeddingNet
from sksiamese._net import SiameseNet, make_net
from sksiamese._preprocess import Preprocess
from sksiamese.losses import ContrastiveLoss

PARAMS = SiameseEmbedder().get_params()


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 40)
    return ResidentData(rng.normal(size=(120, 6)) + y[:, None], y)


def build(data, *, epochs=2, **params):
    torch.manual_seed(0)
    module = EmbeddingNet(Preprocess(np.zeros(6), np.ones(6)), torch.nn.Linear(6, 4))
    params = {**PARAMS, "batch_size": 30, **params}
    return make_net(
        module, ContrastiveLoss(), data, epochs=epochs, seed=0, params=params
    )


def test_loop_equals_a_loop_written_out(data):
    net = build(data, lr_schedule="constant", weight_decay=0.01, lr=0.01)
    twin = build(data).module_
    weight, bias = twin.backbone.weight, twin.backbone.bias
    optimizer = torch.optim.AdamW(
        [
            {"params": [weight], "weight_decay": 0.01},
            {"params": [bias], "weight_decay": 0},
        ],
        lr=0.01,
    )
    losses = []
    batches = net.get_iterator(data, training=True)
    for _ in range(2):
        epoch = []
        for x, labels in batches:
            loss = ContrastiveLoss()(twin(x), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            epoch.append(loss.item())
        losses.append(np.mean(epoch))
    net.partial_fit(data)
    torch.testing.assert_close(net.module_.backbone.weight, weight, atol=1e-5, rtol=0)
    np.testing.assert_allclose(net.history[:, "train_loss"], losses, rtol=1e-4)


def test_recorded_distances_are_those_of_the_batches(data):
    net = build(data, epochs=1, lr=1e-12)
    with torch.no_grad():
        Z = net.module_(torch.from_numpy(data.X)).double().numpy()
    positives, negatives = [], []
    rows = list(net.get_iterator(data, training=True).rows)
    for batch in rows:
        for k, i in enumerate(batch):
            for j in batch[:k]:
                distance = np.linalg.norm(Z[i] - Z[j])
                same = data.labels[i] == data.labels[j]
                (positives if same else negatives).append(distance)
    net.partial_fit(data)
    assert net.history[-1, "positive_distance"] == pytest.approx(np.mean(positives))
    assert net.history[-1, "negative_distance"] == pytest.approx(np.mean(negatives))


def test_epoch_reads_values_from_the_device_once(data, monkeypatch):
    """No loss is read per step, which would wait for an accelerator each time."""
    monkeypatch.delitem(_faults._STEPS_UNREAD, "cpu")  # as on an accelerator
    net = build(data, epochs=3, lr_schedule="constant")
    reads = []
    for method in ("item", "tolist", "__float__", "__bool__"):
        original = getattr(torch.Tensor, method)

        def counted(self, *args, _original=original, _method=method):
            if self.is_floating_point():
                reads.append(_method)
            return _original(self, *args)

        monkeypatch.setattr(torch.Tensor, method, counted)
    net.partial_fit(data)
    assert reads == ["tolist"] * 3


def test_prediction_keeps_the_order_of_rows_over_batches(data, monkeypatch):
    net = build(data)
    expected = net.embed(data.X)
    monkeypatch.setattr(
        "sksiamese._batches._CACHED_VALUES", 9 * 6
    )  # values in nine rows
    np.testing.assert_allclose(net.embed(data.X), expected, atol=1e-6)
    assert len(net.get_iterator(data)) == 2  # of 64 rows


def test_net_is_a_skorch_net_whose_parameters_can_be_set(data):
    net = build(data)
    assert isinstance(net, SiameseNet)
    assert isinstance(net, NeuralNet)
    assert net.get_params()["classes_per_batch"] == "auto"
    net.set_params(lr=0.5)
    assert net.optimizer_.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    "name", ["max_epochs", "lr", "callbacks", "criterion__margin", "momentun"]
)
def test_net_params_of_another_place_are_refused(data, name):
    with pytest.raises(ValueError, match=f"net_params has '{name}'.*own parameters"):
        build(data, net_params={name: 3})


def test_frozen_parameters_are_not_optimised(data):
    torch.manual_seed(0)
    backbone = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 4))
    module = EmbeddingNet(
        Preprocess(np.zeros(6), np.ones(6)), backbone, trainable="head"
    )
    net = make_net(module, ContrastiveLoss(), data, epochs=2, seed=0, params=PARAMS)
    before = [p.detach().clone() for p in backbone.parameters()]
    net.partial_fit(data)
    kept = [
        torch.equal(a, b) for a, b in zip(before, backbone.parameters(), strict=True)
    ]
    assert kept == [True, True, False, False]
    assert sum(len(g["params"]) for g in net.optimizer_.param_groups) == 2


def test_every_step_trains_in_training_mode_and_predicts_in_the_other(data):
    seen = []

    class Noting(torch.nn.Linear):
        def forward(self, x):
            seen.append(self.training)
            return super().forward(x)

    module = EmbeddingNet(
        Preprocess(np.zeros(6), np.ones(6)), torch.nn.Sequential(Noting(6, 4)).eval()
    )
    params = {**PARAMS, "lr_schedule": "constant"}
    net = make_net(module, ContrastiveLoss(), data, epochs=1, seed=0, params=params)
    net.partial_fit(data)
    assert seen == [True] * len(net.get_iterator(data, training=True))
    net.embed(data.X)
    assert seen[-1] is False
    net.partial_fit(data)
    assert seen[-1] is True


def test_compiled_network_learns_what_the_plain_one_does(digits):
    """The backend "eager" traces as compilers do, and needs none."""
    X, y, X_new, _ = digits
    plain = SiameseEmbedder(max_epochs=2, random_state=0, precision="float32")
    options = {"compile": True, "compile__backend": "eager"}
    compiled = clone(plain).set_params(net_params=options)
    expected = plain.fit(X, y).transform(X_new)
    found = compiled.fit(X, y).transform(X_new)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    restored = pickle.loads(pickle.dumps(compiled))
    np.testing.assert_allclose(restored.transform(X_new), expected, atol=1e-4)


def test_prediction_switches_every_part_to_evaluation(data):
    net = build(data)
    expected = net.embed(data.X)
    net.module_.backbone.train()
    np.testing.assert_array_equal(net.embed(data.X), expected)
    assert not any(m.training for m in net.module_.modules())


def test_embedding_keeps_no_chunk_behind(data, monkeypatch):
    """Small results between large activations break up the heap: 1.2 GB on 2 GB."""
    net, alive = build(data), []
    original = net._infer_evenly

    def noting(x):
        alive.append(sum(ref() is not None for ref in refs))
        refs.append(weakref.ref(part := original(x)))
        return part

    refs = []
    monkeypatch.setattr(net, "_infer_evenly", noting)
    net.embed(np.zeros((5000, 6)))
    assert len(refs) == 10
    assert max(alive) <= 1
