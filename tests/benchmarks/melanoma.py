"""Melanoma against all other lesions at 1:56, and which balancing helps.

    python -m tests.benchmarks.melanoma [ARM ...] [--on test] [--seeds 0 1 2 3 4]
        [--nested]

prints a Markdown table, mean and standard error over the seeds, and writes
``melanoma.json``. Each seed is a split of HAM10000's lesions, 70/30, of which the
training part keeps one melanoma for 56 others (about 31), and a training.

``--on validation`` splits the training part again, 80/20, and scores its last fifth and
the melanomas that were taken out of training. The settings in ``COMMON`` were chosen in
that way, but on the mean of several seeds, and a lesion that validates for one seed
tests for another: they are not blind to the test lesions. ``--nested`` is: there each
seed chooses image size and epochs on its own validation part alone, and all else but
the augmentation is at its default.
"""

import argparse
import statistics
import time
import warnings

import numpy as np
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import make_pipeline
from imblearn.under_sampling import RandomUnderSampler
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from sksiamese import SiameseClassifier
from sksiamese.datasets import fetch_images
from sksiamese.imbalance import ImageSampler
from tests.benchmarks._contest import print_table, write_results

RATIO, SPECIFICITY = 56, 0.75
NATURAL = {"pair_budget": "natural"}
# Chosen with balanced batches.
COMMON = {
    "augment": "isotropic",
    "image_size": 32,
    "max_epochs": 6,
    "weight_decay": 0.2,
}
# What a seed chooses among, by the AUC on its own validation part.
NESTED = [
    {"image_size": size, "max_epochs": epochs} for size in (32, 64) for epochs in (3, 6)
]
# Further parameters, and the sampler in front.
ARMS = {
    "no balancing": (NATURAL, None),
    "RandomUnderSampler": (NATURAL, RandomUnderSampler),
    "RandomOverSampler": (NATURAL, RandomOverSampler),
    "SMOTE": (NATURAL, SMOTE),
    "class weights": (NATURAL | {"class_weight": "balanced"}, None),
    "balanced batches": ({}, None),
    "balanced, focal loss": ({"loss": "focal_contrastive"}, None),
    "balanced, minority augmented": ({"augment_minority": 3.0}, None),
}
SCORES = ("AUC", "sensitivity", "average precision")


def split_lesions(y, lesions, seed):
    """Rows of the training part, of its surplus melanomas, and of the test part."""
    rng = np.random.default_rng(seed)
    train, test = [], []
    for label in (0, 1):
        mine = rng.permutation(np.unique(lesions[y == label]))
        cut = round(0.7 * len(mine))
        train.append(np.flatnonzero(np.isin(lesions, mine[:cut]) & (y == label)))
        test.append(np.flatnonzero(np.isin(lesions, mine[cut:]) & (y == label)))
    # One image of a lesion here: whoever has several splits these by lesion, too.
    assert len(np.unique(lesions)) == len(lesions)
    others, melanomas = rng.permutation(train[0]), rng.permutation(train[1])
    n_kept = round(len(others) / RATIO)
    kept, surplus = melanomas[:n_kept], melanomas[n_kept:]
    return others, kept, surplus, np.concatenate(test)


def rows_of(y, lesions, seed, on):
    """Rows to train on and rows to score."""
    others, kept, surplus, test = split_lesions(y, lesions, seed)
    if on == "test":
        return np.concatenate([others, kept]), test
    cut = round(0.8 * len(others))
    n_kept = round(cut / RATIO)
    train = np.concatenate([others[:cut], kept[:n_kept]])
    return train, np.concatenate([others[cut:], kept[n_kept:], surplus])


def run(arm, data, seed, on, settings):
    """Scores of one training."""
    X, y, lesions = data
    train, scored = rows_of(y, lesions, seed, on)
    params, sampler = ARMS[arm]
    model = SiameseClassifier(random_state=seed, **settings, **params)
    if sampler is not None:
        model = make_pipeline(ImageSampler(sampler(random_state=seed)), model)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of too few melanomas to hold out
        model.fit(X[train], y[train])
    proba = model.predict_proba(X[scored])[:, 1]
    false_positives, sensitivity, _ = roc_curve(y[scored], proba)
    return {
        "AUC": roc_auc_score(y[scored], proba),
        "sensitivity": np.interp(1 - SPECIFICITY, false_positives, sensitivity),
        "average precision": average_precision_score(y[scored], proba),
        "seconds": time.perf_counter() - start,
    }


def choose(arm, data, seed):
    """Choose the settings that are best on a seed's own validation part."""
    tried = [{"augment": COMMON["augment"], **settings} for settings in NESTED]
    aucs = [run(arm, data, seed, "validation", settings)["AUC"] for settings in tried]
    return tried[int(np.argmax(aucs))]


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("arms", nargs="*", choices=[[], *ARMS], default=[])
    parser.add_argument("--on", choices=["test", "validation"], default="test")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--nested", action="store_true")
    options = parser.parse_args()
    bunch = fetch_images("ham10000", download=False)
    melanoma = list(bunch.target_names).index("mel")
    data = bunch.images, (bunch.target == melanoma).astype(int), bunch.groups
    results, rows = {}, []
    for arm in options.arms or ARMS:
        results[arm] = []
        for seed in options.seeds:
            settings = choose(arm, data, seed) if options.nested else COMMON
            results[arm].append(run(arm, data, seed, options.on, settings))
        row = [arm]
        for score in SCORES:
            values = [r[score] for r in results[arm]]
            error = statistics.stdev(values) / len(values) ** 0.5
            row.append(
                f"{statistics.mean(values):.3f} +- {error:.3f}"
                f" ({min(values):.3f} - {max(values):.3f})"
            )
        row.append(f"{statistics.mean(r['seconds'] for r in results[arm]):.0f}")
        print(" | ".join(row), flush=True)
        rows.append(row)
    header = "arm", *SCORES, "seconds"
    print_table(f"Melanoma 1:{RATIO}, {options.on}", header, rows)
    write_results("melanoma", results)


if __name__ == "__main__":
    main()
