"""Layer 1: what a report of a bug should say about the machine and its packages."""

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version

import threadpoolctl
import torch

# What tests and documentation are made with says nothing about a user's machine.
TOOLS = {"docs", "test"}


def show_versions():
    """Print what a report of a bug should contain.

    These are the system, the versions of sksiamese and of all packages that it uses,
    optional ones too, the threads that numerical libraries use, and the devices that
    PyTorch sees. Nothing is sent anywhere.

    See Also
    --------
    sklearn.show_versions : The same for scikit-learn, with its compilers.

    Examples
    --------
    >>> import sksiamese
    >>> sksiamese.show_versions()  # doctest: +ELLIPSIS
    System
        python: 3...
    """
    for title, facts in {
        "System": _system(),
        "Packages": {name: _version(name) for name in _packages()},
        "Threads": _threads(),
        "Devices": _devices(),
    }.items():
        print(title)
        for name, value in facts.items():
            print(f"{name:>18s}: {value}")


def _system():
    """Return Python and the machine that it runs on."""
    return {
        "python": sys.version.replace("\n", " "),
        "executable": sys.executable,
        "machine": platform.platform(),
        "processor cores": os.cpu_count(),
    }


def _packages():
    """Return the package and what it requires, optional packages last."""
    lines = requires("sksiamese")
    needed = [line for line in lines if "extra ==" not in line]
    optional = [
        line
        for line in lines
        if (extra := re.search(r"extra == ['\"](\w+)", line)) and extra[1] not in TOOLS
    ]
    return ["sksiamese", *(re.match(r"[\w.-]+", line)[0] for line in needed + optional)]


def _version(name):
    """Return the version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _threads():
    """Return the threads of each numerical library that is loaded."""
    pools = {
        f"{pool['internal_api']} {k}": f"{pool['num_threads']} ({pool['version']})"
        for k, pool in enumerate(threadpoolctl.threadpool_info(), start=1)
    }
    return {"PyTorch": torch.get_num_threads(), **pools}


def _devices():
    """Return the devices that PyTorch can compute on."""
    facts = {"processor": torch.backends.cpu.get_cpu_capability()}
    if torch.cuda.is_available():
        facts["CUDA"] = torch.version.cuda
        facts["cuDNN"] = torch.backends.cudnn.version()
        for k in range(torch.cuda.device_count()):
            facts[f"cuda:{k}"] = torch.cuda.get_device_name(k)
    return facts
