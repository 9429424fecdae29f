"""Where and with which random numbers to compute (layer 1: torch only)."""

import contextlib
import os
import random
import threading

import numpy as np
import torch
from threadpoolctl import threadpool_limits

# The generators are the process's own, so threads that train take turns.
_turns = threading.RLock()


def resolve_device(device):
    """Choose the device that ``device`` describes.

    Parameters
    ----------
    device : str
        ``"auto"`` takes a CUDA device, else the CPU; anything else is a PyTorch device.

    Returns
    -------
    str
        A PyTorch device that is there.

    Raises
    ------
    ValueError
        If PyTorch does not know the device or the machine has none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.empty(0, device=device).device.type in ("meta", "mps"):
            # PyTorch lacks float64 and the padding that augmentation needs on mps.
            raise RuntimeError("it lacks operations that are needed")
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ValueError(
            f"device={device!r} cannot be used here ({error}): use 'auto' or 'cpu'."
        ) from error
    return device


def has_bfloat16(device):
    """Whether a device computes faster in bfloat16 than in float32.

    Parameters
    ----------
    device : str
        A PyTorch device.

    Returns
    -------
    bool
        True for CUDA devices and x86 processors (AMX, AVX512-BF16) with the units.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu":
        return False
    # Public names for these came and went between PyTorch 2.4 and 2.15.
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)


@contextlib.contextmanager
def isolated_random_state(seed, device):
    """Seed random numbers within a block and leave all generators as they were.

    The generators belong to the whole process. So threads take turns: a block waits
    until that of another thread has ended, whereas blocks of one thread may be nested.
    A forked process waits for no thread of its parent.

    Parameters
    ----------
    seed : int
        Seed.

    device : str
        Device whose generator is seeded, beside the CPU's.

    Yields
    ------
    None
        Within the block, CUDA convolutions are deterministic too.
    """
    kind, index = torch.device(device).type, torch.device(device).index
    generators = [torch.default_generator]
    devices = []
    if kind == "cuda":
        index = torch.cuda.current_device() if index is None else index
        generators.append(torch.cuda.default_generators[index])
        devices = [index]
    with (
        _turns,
        torch.random.fork_rng(devices),
        torch.backends.cudnn.flags(
            enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True
        ),
    ):
        # torch.manual_seed would reseed every other device too.
        for generator in generators:
            generator.manual_seed(seed)
        with _isolated_global_generators(seed):
            yield


@contextlib.contextmanager
def _isolated_global_generators(seed):
    """Seed Python's and NumPy's generators, from which others' transforms draw."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002


def _start_after_fork():
    """Make a forked process able to compute, and to train."""
    global _turns
    _turns = threading.RLock()  # its holder may be a thread that is not here
    # GNU OpenMP would wait forever for the threads of the parent's pool, which are not
    # here either. PyTorch, scikit-learn and FAISS have a pool each, and PyTorch keeps
    # a number of its own for MKL.
    torch.set_num_threads(1)
    threadpool_limits(1, "openmp")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_after_fork)
