"""How time grows with the number of training images.

    python -m tests.benchmarks.growth [--rounds 5]

trains on 5,000, 20,000 and 60,000 images of MNIST in turns, prints the seconds of an
epoch and the microseconds that ``predict`` takes for an image, with the exponents of
the power laws fitted to them, and writes ``growth.json``.
"""

import argparse
import statistics
import time
import warnings

import numpy as np

from sksiamese import SiameseClassifier
from tests.benchmarks._contest import print_table, read_split, spread, write_results

SIZES = (5_000, 20_000, 60_000)


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    X, y = read_split("mnist", "train")
    X_new = read_split("mnist", "test")[0][:2000]
    epoch = {n: [] for n in SIZES}
    predict = {n: [] for n in SIZES}
    for _ in range(rounds + 1):
        for n in SIZES:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                clf = SiameseClassifier(
                    max_epochs=2, validation_fraction=0, random_state=0
                ).fit(X[:n], y[:n])
            epoch[n].append(clf.history_["seconds"][-1])
            start = time.perf_counter()
            clf.predict(X_new)
            predict[n].append((time.perf_counter() - start) / len(X_new) * 1e6)
    rows = []
    for n in SIZES:  # the first round warms up
        pairs = zip(epoch[n], epoch[SIZES[0]], strict=True)
        linear = [own / n / (first / SIZES[0]) for own, first in pairs]
        rows.append(
            (
                f"{n:,}",
                spread(epoch[n][1:], 2),
                spread(linear[1:], 2),
                spread(predict[n][1:], 1),
            )
        )
    header = "images", "seconds of an epoch", "per image, to 5,000's"
    print_table("Growth, MNIST", (*header, "predict, microseconds an image"), rows)
    for name, values in (("epoch", epoch), ("predict", predict)):
        medians = [statistics.median(values[n][1:]) for n in SIZES]
        exponent = np.polyfit(np.log(SIZES), np.log(medians), 1)[0]
        print(f"\nFitted exponent, {name}: {exponent:.3f}")
    write_results("growth", {"epoch": epoch, "predict": predict})


if __name__ == "__main__":
    main()
