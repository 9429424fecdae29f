"""What ``import sksiamese`` costs beside what it is built on.

    python -m tests.benchmarks.imports [--rounds 9]

times fresh processes in turns, prints a Markdown table and writes ``imports.json``.
"""

import argparse
import subprocess
import sys
import time

from tests.benchmarks._contest import print_ratios, write_results

STATEMENTS = {
    "torch, sklearn, skorch": "import torch, sklearn, skorch",
    "sksiamese": "import sksiamese",
}
LATER = "torchvision", "matplotlib", "pandas", "tqdm"


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    figures = {name: [] for name in STATEMENTS}
    for _ in range(rounds + 1):
        for name, statement in STATEMENTS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            figures[name].append(time.perf_counter() - start)
    figures = {name: values[1:] for name, values in figures.items()}  # caches are warm
    title = "Import, seconds of a whole process"
    print_ratios(title, figures, "seconds", "torch, sklearn, skorch", digits=2)
    for name, statement in STATEMENTS.items():
        code = f"{statement}, sys; print(*[m for m in {LATER} if m in sys.modules])"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        print(f"\nOf {', '.join(LATER)}, {name} loads: {done.stdout.strip()}")
    write_results("imports", figures)


if __name__ == "__main__":
    main()
