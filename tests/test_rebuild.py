"""Networks from descriptions are the networks that were described."""

import re

import numpy as np
import pytest
import torch

from sksiamese import SiameseEmbedder
from sksiamese._rebuild import (
    _Unallocated,
    describe_net,
    rebuild_module,
    rebuild_net,
)
from sksiamese._torchvision import torchvision_structure
from sksiamese.backbones import list_backbones, named_backbone

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 256, (24, 32, 32), dtype=np.uint8), np.arange(24) % 2
# The first of each family of torchvision's.
FAMILY = re.compile(r"[a-z]+(_v2|_v3|_y|_x|\d+_x\d)?")
FAMILIES = {FAMILY.match(name)[0]: name for name in list_backbones()[::-1]}.values()


def described(**params):
    usual = {"max_epochs": 1, "random_state": 0}
    embedder = SiameseEmbedder(**usual | params).fit(X, Y)
    return embedder, describe_net(embedder.net_)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "name", ["conv", "conv16-32-64", "dense128", "shufflenet_v2_x0_5"]
)
def test_network_rebuilt_embeds_as_before(name):
    embedder, description = described(backbone=name)
    net = rebuild_net(description, device="cpu")
    assert np.array_equal(net.embed(X), embedder.net_.embed(X))
    assert net.history[-1]["train_loss"] == embedder.net_.history[-1]["train_loss"]
    assert net.module_.preprocess.scale.equal(embedder.net_.module_.preprocess.scale)
    layouts = [
        [p.stride() for p in n.module_.parameters()] for n in (net, embedder.net_)
    ]
    assert layouts[0] == layouts[1]


def test_optimizer_rebuilt_has_its_state_and_layout():
    embedder, description = described(backbone="conv")
    net = rebuild_net(description, device="cpu")
    old, new = embedder.net_.optimizer_, net.optimizer_
    assert type(old) is type(new) and len(old.state) == len(new.state)
    for a, b in zip(old.state.values(), new.state.values(), strict=True):
        for name, value in a.items():
            assert value.equal(b[name]) and value.stride() == b[name].stride()
    assert old.param_groups[0]["lr"] == new.param_groups[0]["lr"]


@pytest.mark.parametrize("name", FAMILIES)
def test_backbone_of_each_family_is_planned_without_memory(name):
    """Weights fill all of it then: there are no tensors but those of its state."""
    shape = (64,) if name == "mlp" else (3, 224, 224)
    own = list_backbones().index(name) < 6
    for build in [named_backbone] if own else [named_backbone, torchvision_structure]:
        with _Unallocated():
            network = build(name, shape, 16)
        state = network.state_dict()
        names = {k for k, _ in [*network.named_parameters(), *network.named_buffers()]}
        assert names == set(state)
        for module in network.modules():
            assert not any(isinstance(v, torch.Tensor) for v in vars(module).values())
        assert all(p.is_meta for p in network.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["origin"].update(backbone="resnet18"), "does not fit the weights"),
        (lambda d: d["origin"].update(backbone="no such"), "is unknown"),
        (lambda d: d["origin"].update(embedding_dim=10**12), "does not fit"),
        (lambda d: d["origin"].update(input_shape=(10**9, 32, 32)), "does not fit"),
        (lambda d: d["state"].pop("preprocess.scale"), "preprocess.scale"),
        (lambda d: d["state"].update(more=torch.zeros(1)), "more"),
        (
            lambda d: d["state"].update({"preprocess.mean": torch.zeros(1)}),
            "preprocess.mean",
        ),
    ],
)
def test_weights_of_another_network_are_refused(change, message):
    description = described(backbone="conv")[1]["module"]
    description = {
        **description,
        "origin": dict(description["origin"]),
        "state": dict(description["state"]),
    }
    change(description)
    with pytest.raises(ValueError, match=message):
        rebuild_module(description)


def test_own_backbone_is_copied_and_checked():
    own = named_backbone("conv", (1, 32, 32), 8)
    embedder, description = described(backbone=own)
    assert description["module"]["origin"]["backbone"] is None
    net = rebuild_net(description, device="cpu", backbone=own)
    assert np.array_equal(net.embed(X), embedder.net_.embed(X))
    assert net.module_.backbone is not own
    with pytest.raises(ValueError, match="(?s)backbone=.*does not fit the weights"):
        other = named_backbone("conv16-32-64", (1, 32, 32), 8)
        rebuild_net(description, device="cpu", backbone=other)


def test_description_of_a_compiled_network_is_that_of_the_network():
    embedder, description = described(backbone="conv")
    before = embedder.transform(X)
    embedder.net_.module_ = torch.compile(embedder.net_.module_)
    description = describe_net(embedder.net_)
    assert not any("_orig_mod" in name for name in description["module"]["state"])
    net = rebuild_net(description, device="cpu")
    assert np.array_equal(net.embed(X), before)


def test_random_numbers_are_not_drawn():
    _, description = described(backbone="conv")
    before = torch.get_rng_state()
    rebuild_net(description, device="cpu")
    assert torch.equal(before, torch.get_rng_state())
