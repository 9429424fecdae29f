"""Weights from the file of a state dict: what is loaded, and what is refused."""

import contextlib
import copy
import os
import pickle
import re

import pytest
import torch
from torch import nn
from torchvision import models

from sksiamese.backbones import make_backbone

SHAPE = (1, 8, 8)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pt"


class Malicious:
    """Runs code when it is unpickled: it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def assert_body_is_copied(module, state):
    """Check that every layer but the last has the weights of the state dict."""
    own = module.state_dict()
    for key in list(own)[:-2]:
        torch.testing.assert_close(own[key], state[key], rtol=0, atol=0)


@pytest.mark.parametrize("n_classes", [1000, 7])
@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v3_small",
        "resnet18",
        "shufflenet_v2_x0_5",
        "squeezenet1_1",
        "mnasnet0_5",  # which asks for the versions of its layers
    ],
)
def test_file_of_torchvision_model_is_loaded_but_for_the_head(name, n_classes, path):
    plain = models.get_model(name, weights=None, num_classes=n_classes)
    torch.save(plain.state_dict(), path)
    module, n_outputs = make_backbone(
        name, (3, 32, 32), weights=str(path), embedding_dim=9
    )
    assert n_outputs == 9
    assert_body_is_copied(module, plain.state_dict())


@pytest.mark.parametrize("embedding_dim", [64, 5])
def test_file_of_small_network_is_loaded(embedding_dim, path):
    trained, _ = make_backbone("conv", SHAPE)
    torch.save(trained.state_dict(), path)
    module, n_outputs = make_backbone(
        "conv", SHAPE, weights=path, embedding_dim=embedding_dim
    )
    assert n_outputs == embedding_dim
    assert_body_is_copied(module, trained.state_dict())
    same = torch.equal(module[-1].weight, trained[-1].weight)
    assert same == (embedding_dim == 64)


def test_file_for_module_is_loaded_into_the_copy(path):
    own = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Linear(3, 2))
    before = copy.deepcopy(own.state_dict())
    state = {k: v + 1 for k, v in before.items()}
    torch.save(state, path)
    module, _ = make_backbone(own, SHAPE, weights=path)
    for key, value in state.items():
        torch.testing.assert_close(module.state_dict()[key], value)
        torch.testing.assert_close(own.state_dict()[key], before[key])


def test_file_without_batch_counts_is_loaded(path):
    """Files from before PyTorch 0.4.1 have none, most of torchvision's among them."""
    state = {k: v for k, v in conv_state().items() if "num_batches" not in k}
    torch.save(state, path)
    module, _ = make_backbone("conv", SHAPE, weights=path)
    torch.testing.assert_close(module[0].weight, state["0.weight"])


def conv_state():
    return make_backbone("conv", SHAPE)[0].state_dict()


@pytest.mark.parametrize("backbone", ["conv", nn.Flatten()])
@pytest.mark.parametrize("weights", ["DEFAULT", "missing.pt"])
def test_weights_that_are_no_file_raise(backbone, weights):
    with pytest.raises(ValueError, match=f"weights='{weights}' is not a file.*path of"):
        make_backbone(backbone, SHAPE, weights=weights)


@pytest.mark.parametrize(
    ("change", "counts", "entry"),
    [
        ({"4.weight": None}, (1, 0, 0), "4.weight"),
        ({"own.bias": torch.zeros(2)}, (0, 1, 0), "own.bias"),
        ({"0.weight": torch.zeros(32, 3, 3, 3)}, (0, 0, 1), "0.weight"),
        ({"2.bias": None, "x": torch.ones(1)}, (1, 1, 0), "2.bias, x"),
    ],
    ids=["missing", "unknown", "shape", "several"],
)
def test_file_of_another_network_lists_entries(change, counts, entry, path):
    state = {**conv_state(), **change}
    torch.save({k: v for k, v in state.items() if v is not None}, path)
    expected = (
        f"does not fit backbone='conv': {counts[0]} entries are missing,"
        f" {counts[1]} unknown and {counts[2]} of another shape,.* {entry}"
    )
    with pytest.raises(ValueError, match=expected):
        make_backbone("conv", SHAPE, weights=path)


def test_file_of_another_network_lists_few_entries(path):
    torch.save(models.shufflenet_v2_x0_5(weights=None).state_dict(), path)
    with pytest.raises(ValueError, match=r"weights='.*among them") as error:
        make_backbone("resnet18", (3, 32, 32), weights=path)
    assert len(str(error.value)) < 500 + len(str(path))


@pytest.mark.parametrize("other", [(7,), (1, 3, 3)])
def test_file_none_of_which_fits_raises(other, path):
    """Nothing would be loaded, and the user would not know."""
    torch.save(make_backbone("dense128", other)[0].state_dict(), path)
    with pytest.raises(ValueError, match=r"weights='.* does not fit"):
        make_backbone("dense128", (20,), weights=path)


def test_file_without_a_bias_before_the_last_layer_raises(path):
    """The last two entries are not one layer if the last has no bias."""
    own = nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 2, bias=False))
    state = own.state_dict()
    del state["0.bias"]
    torch.save(state, path)
    with pytest.raises(ValueError, match="1 entries are missing.*0.bias"):
        make_backbone(own, (6,), weights=path)


def write_text(path):
    path.write_text("hello\n")


def write_nothing(path):
    path.touch()


def write_tensor(path):
    torch.save(torch.zeros(3), path)


def write_list(path):
    torch.save([torch.zeros(3)], path)


def write_module(path):
    torch.save(nn.Linear(2, 3), path)


def write_cut(path):
    torch.save(conv_state(), path)
    path.write_bytes(path.read_bytes()[:1000])


def write_malicious_pickle(path):
    path.write_bytes(pickle.dumps(Malicious(path.parent / "ran"), protocol=2))


def write_malicious_archive(path):
    torch.save({"0.weight": Malicious(path.parent / "ran")}, path)


MALICIOUS = [write_malicious_pickle, write_malicious_archive]


@pytest.mark.parametrize("write", MALICIOUS)
@pytest.mark.parametrize("name", ["conv", "shufflenet_v2_x0_5"])
def test_pickle_that_runs_code_is_refused_before_it_runs(name, write, path):
    write(path)
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        make_backbone(name, (3, 32, 32), weights=path)
    assert not (path.parent / "ran").exists()
    with contextlib.suppress(RuntimeError):
        torch.load(path, weights_only=False)  # it would have run
    assert (path.parent / "ran").exists()


@pytest.mark.parametrize(
    "write",
    [
        *MALICIOUS,
        write_text,
        write_nothing,
        write_tensor,
        write_list,
        write_module,
        write_cut,
        os.mkdir,
    ],
)
def test_file_that_is_no_state_dict_raises_with_its_path(write, path):
    write(path)
    expected = f"weights='{re.escape(str(path))}'.*state dict"
    with pytest.raises(ValueError, match=expected):
        make_backbone("conv", SHAPE, weights=path)
