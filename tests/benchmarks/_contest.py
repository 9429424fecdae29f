"""Contests: what is compared runs in turns, each contestant in a process of its own.

A process of its own, because what one library does to the memory allocator or to the
caches of the kernels must not help or harm the next. In turns, because a machine is not
equally fast all day: ratios are taken within a round, and the table shows their median
with the smallest and the largest.
"""

import json
import multiprocessing
import os
import platform
import statistics
from importlib.metadata import version
from pathlib import Path

import numpy as np

PACKAGES = ("sksiamese", "torch", "torchvision", "scikit-learn", "skorch", "numpy")


def _serve(pipe, build, args):
    """Build a contestant, then play one round per request, until nobody asks."""
    try:
        play = build(*args)
        play()  # warm-up: kernels are chosen, the heap has grown
        pipe.send("ready")
        while pipe.recv():
            pipe.send(play())
    except EOFError:
        return
    except BaseException as error:
        pipe.send(error)
        raise


def run_contest(contestants, rounds):
    """Let contestants play in turns.

    Parameters
    ----------
    contestants : dict of str to tuple
        Name, then ``(build, *args)``: ``build(*args)`` is called in the contestant's
        process and returns a function that plays one round and returns its figure.

    rounds : int
        Number of rounds.

    Returns
    -------
    dict of str to list
        Figures of each contestant, one per round.
    """
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    try:
        for name, (build, *args) in contestants.items():
            pipes[name], theirs = context.Pipe()
            # Not daemons: those may have no children, and one may search in two.
            process = context.Process(target=_serve, args=(theirs, build, args))
            process.start()
            processes.append(process)
            theirs.close()  # so that a process that dies ends the wait for its answer
            _receive(pipes[name])  # one at a time: no warm-up is disturbed
        return _play(pipes, rounds)
    finally:
        for pipe in pipes.values():
            pipe.close()
        for process in processes:
            process.join()


def _play(pipes, rounds):
    """Figures of each contestant, whose turns rotate."""
    figures = {name: [] for name in pipes}
    order = list(pipes)
    for _ in range(rounds):
        for name in order:
            pipes[name].send(True)
            figures[name].append(_receive(pipes[name]))
        order = order[1:] + order[:1]  # nobody always follows the same neighbour
    return figures


def _receive(pipe):
    """Answer of a contestant; its error is raised here."""
    answer = pipe.recv()
    if isinstance(answer, BaseException):
        raise answer
    return answer


def ratios(figures, baseline):
    """Ratio of each contestant to the baseline, round by round."""
    base = figures[baseline]
    return {
        name: [value / b for value, b in zip(values, base, strict=True)]
        for name, values in figures.items()
    }


def spread(values, digits):
    """Median with the smallest and the largest, as text."""
    figures = statistics.median(values), min(values), max(values)
    middle, low, high = (f"{v:,.{digits}f}" for v in figures)
    return f"{middle} ({low} - {high})"


def print_table(title, header, rows):
    """Print a Markdown table."""
    print(f"\n### {title}\n")
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


def print_ratios(title, figures, unit, baseline, digits=0):
    """Print figures of a contest beside their ratio to one of the contestants."""
    relative = ratios(figures, baseline)
    rows = [
        (name, spread(values, digits), spread(relative[name], 2))
        for name, values in figures.items()
    ]
    print_table(title, ("contestant", unit, f"ratio to {baseline}"), rows)


def machine():
    """Describe what the figures were measured on."""
    import torch  # here, as each contestant's process loads this file

    names = [
        line.split(":")[1].strip()
        for line in _lines("/proc/cpuinfo")
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def _lines(path):
    """Lines of a file that other systems do not have."""
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def write_results(name, results):
    """Write ``<name>.json`` into the current folder, with the machine's description."""
    content = {"machine": machine(), **results}
    Path(f"{name}.json").write_text(json.dumps(content, indent=1))


def read_images(name):
    """Training images and labels of a contest.

    ``mnist`` is its first 6,000 images, ``pneumonia`` all of PneumoniaMNIST's training
    set, both from ``$SKSIAMESE_DATA``; ``synthetic`` is noise, 64 x 64 in colour.
    """
    if name == "synthetic":
        rng = np.random.default_rng(0)
        labels = np.arange(1280) % 4
        images = rng.integers(0, 256, (len(labels), 64, 64, 3), dtype=np.uint8)
        return images, labels
    if name == "pneumonia":
        return read_split("pneumoniamnist", "train")
    images, labels = read_split("mnist", "train")
    return images[:6000], labels[:6000]


def read_split(name, split):
    """Images and labels of an official split of a public set, which is there."""
    from sksiamese.datasets import fetch_images

    data = fetch_images(name, download=False)
    rows = data.split == split
    return data.images[rows], data.target[rows]
