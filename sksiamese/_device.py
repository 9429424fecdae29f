"""Where and with which random numbers to compute (layer 1: torch only)."""

import contextlib

import torch


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
        # Apple's GPU is left to those who ask for it: PyTorch's grid_sample lacks the
        # padding there that augmentation needs.
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
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
    """Seed PyTorch within a block and leave its generators as they were.

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
    accelerators = [index or 0] if kind in ("cuda", "mps") else []
    with (
        torch.random.fork_rng(
            accelerators, device_type=kind if accelerators else "cuda"
        ),
        torch.backends.cudnn.flags(
            enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True
        ),
    ):
        torch.manual_seed(seed)
        yield
