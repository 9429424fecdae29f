"""Devices by name, and random numbers that leave the caller's alone."""

import random

import numpy as np
import pytest
import torch

from sksiamese._device import has_bfloat16, isolated_random_state, resolve_device


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_device_that_is_there_is_kept(device):
    assert resolve_device(device) == device


def test_device_auto_can_be_computed_on():
    device = resolve_device("auto")
    assert torch.ones(2, device=device).sum().item() == 2


@pytest.mark.parametrize(
    "device", ["", "banana", "CPU", "cuda:99", "gpu", "cpu:one", "hpu"]
)
def test_device_that_is_not_there_names_parameter(device):
    with pytest.raises(ValueError, match=f"device='{device}' cannot be used .*'auto'"):
        resolve_device(device)


@pytest.mark.parametrize("device", ["cpu", "mps", "meta"])
def test_bfloat16_is_known_for_every_device(device):
    assert has_bfloat16(device) in ((True, False) if device == "cpu" else (False,))


def drawn(seed):
    with isolated_random_state(seed, "cpu"):
        return torch.rand(5), torch.randperm(9)


def test_random_state_equal_seeds_give_equal_numbers():
    for first, again in zip(drawn(3), drawn(3), strict=True):
        assert torch.equal(first, again)
    assert not torch.equal(drawn(3)[0], drawn(4)[0])


def test_random_state_does_not_depend_on_what_was_drawn_before():
    torch.manual_seed(0)
    first, _ = drawn(3)
    torch.rand(100)
    assert torch.equal(drawn(3)[0], first)


def test_random_state_is_torchs_own_of_that_seed():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        expected = torch.rand(5)
    assert torch.equal(drawn(3)[0], expected)


def test_random_state_leaves_torchs_generator_as_it_was():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    drawn(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_random_state_leaves_torchs_generator_as_it_was_after_an_exception():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt), isolated_random_state(3, "cpu"):
        torch.rand(5)
        raise KeyboardInterrupt
    assert torch.equal(torch.get_rng_state(), before)


def test_random_state_within_another_leaves_that_as_it_was():
    with isolated_random_state(1, "cpu"):
        torch.rand(2)
        expected = torch.rand(3)
    with isolated_random_state(1, "cpu"):
        torch.rand(2)
        drawn(3)
        assert torch.equal(torch.rand(3), expected)


def test_random_state_leaves_other_generators_alone():
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - it is the global one that must not be touched
    before = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    drawn(3)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@pytest.mark.parametrize("benchmark", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
def test_random_state_restores_cudnn_flags(benchmark, deterministic):
    cudnn = torch.backends.cudnn
    with cudnn.flags(
        enabled=cudnn.enabled, benchmark=benchmark, deterministic=deterministic
    ):
        with isolated_random_state(0, torch.device("cpu")):
            assert cudnn.deterministic
            assert not cudnn.benchmark
        assert (cudnn.benchmark, cudnn.deterministic) == (benchmark, deterministic)
