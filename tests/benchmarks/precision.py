"""Accuracy in bfloat16 beside float32.

    python -m tests.benchmarks.precision [--seeds 0 1 2 3 4] [--sets mnist pneumonia]

trains ``SiameseClassifier`` with ``precision="auto"`` and ``"float32"`` on the same
seeds, scores the official test sets, prints a Markdown table with standard errors and
writes ``precision.json``.
"""

import argparse

import numpy as np

from sksiamese._device import has_bfloat16, resolve_device
from tests.benchmarks._contest import print_table, write_results
from tests.benchmarks.accuracy import SETS, evaluate


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--sets", nargs="+", default=["pneumonia", "mnist"])
    parser.add_argument("--max-epochs", type=int, help="fewer than the default")
    options = parser.parse_args()
    device = resolve_device("auto")
    print(f"precision='auto' on {device} is bfloat16 here: {has_bfloat16(device)}")
    params = {"max_epochs": options.max_epochs} if options.max_epochs else {}
    results, rows = {}, []
    for name in options.sets:
        runs = {"auto": [], "float32": []}
        for seed in options.seeds:
            for precision, done in runs.items():
                splits = SETS[name]("test", seed)
                done.append(evaluate(splits, seed, {**params, "precision": precision}))
        results[name] = runs
        for figure in ("accuracy", "AUC", "fit seconds"):
            if figure not in runs["auto"][0]:
                continue
            cells = []
            for done in runs.values():
                values = [run[figure] for run in done]
                error = np.std(values, ddof=1) / np.sqrt(len(values))
                cells.append(f"{np.mean(values):.4f} +- {error:.4f}")
            pairs = zip(*runs.values(), strict=True)
            gaps = [a[figure] - b[figure] for a, b in pairs]
            error = np.std(gaps, ddof=1) / np.sqrt(len(gaps))
            cells.append(f"{np.mean(gaps):+.4f} +- {error:.4f}")
            rows.append((name, figure, *cells))
    header = "set", "figure", "auto", "float32", "difference"
    seeds = len(options.seeds)
    print_table(f"Mean and standard error over {seeds} seeds", header, rows)
    write_results("precision", results)


if __name__ == "__main__":
    main()
