"""Whether ONNX files of all named backbones give the embeddings of ``transform``.

    python -m tests.benchmarks.onnx [BACKBONE ...]

Each network trains for eight steps on 128 skin lesions, 64 x 64 in colour, is exported
by ``to_onnx``, checked by ``onnx.checker`` and run by onnxruntime on 1, 7 and 64 other
images. Prints the largest difference of any value of an embedding of unit length; the
largest error of ``transform`` itself, beside double precision, since a few deep
networks, hardly trained, magnify rounding by thousands; and the median distance of two
images, since networks that hardly tell images apart would hide differences. Ends with
an error if a difference is above 1e-4 or a distance below 0.01. A network with more
than the 2 GiB that an ONNX file holds must be refused.
"""

import argparse
import copy
import gc
import os
import sys
import tempfile
import time
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from scipy.spatial.distance import pdist
from torch import nn
from torch.nn import functional

from sksiamese import SiameseEmbedder
from sksiamese.backbones import list_backbones, make_backbone
from sksiamese.datasets import fetch_images
from tests.benchmarks._contest import print_table

TOLERANCE, SPREAD = 1e-4, 0.01
# Networks that take no 64 x 64: too small, no multiple of the patch, or of one size.
SIZES = {"inception_v3": 96, "maxvit_t": 224, "vit_h_14": 56}


def fit(name, X, y):
    """Train a network a little, so that it tells images apart.

    Statistics of batch normalisation are averages of all steps: moving ones would
    still be those of an untrained network, in which signals die away.
    """
    side = SIZES.get(name, 64)
    module, _ = make_backbone(name, (3, side, side))
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.momentum = None
    n_bytes = sum(weights.nbytes for weights in module.parameters())
    embedder = SiameseEmbedder(
        module,
        image_size=side,
        batch_size=32,
        max_epochs=2,
        lr=5e-5,  # at which none collapses
        # What is to be refused takes 10 GB to train.
        trainable="head" if n_bytes > 2**31 else "all",
        validation_fraction=0,
        precision="float32",
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the table tells
        return embedder.fit(X, y)


def embed_in_double(embedder, X):
    """Embed by the network in double precision, behind the same preprocessing."""
    network = embedder.net_.module_
    backbone = copy.deepcopy(network.backbone).double()
    with torch.no_grad():
        z = backbone(network.preprocess(torch.from_numpy(X)).double())
        return functional.normalize(z).numpy()


def compare(name, X, y, path):
    """Export a network; return difference, error of transform and distance."""
    embedder = fit(name, X[:128], y[:128])
    embedder.to_onnx(path)
    onnx.checker.check_model(path)
    session = onnxruntime.InferenceSession(path)
    differences, new = [], X[136:]
    for images in (X[128:129], X[129:136], new):
        found = session.run(["embeddings"], {"images": images})[0]
        expected = embedder.transform(images)
        differences.append(float(np.abs(found - expected).max()))
    error = float(np.abs(expected - embed_in_double(embedder, new)).max())
    return max(differences), error, float(np.median(pdist(expected)))


def judge(name, X, y):
    """Row of the table; its last entry is empty if the network passes."""
    start = time.perf_counter()
    figures, verdict = ("", "", ""), ""
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = compare(name, X, y, os.path.join(folder, "x.onnx"))
            difference, error, distance = found
            figures = f"{difference:.1e}", f"{error:.1e}", f"{distance:.2g}"
            if not (difference <= TOLERANCE and distance >= SPREAD):
                verdict = "FAILS"
        except Exception as error:  # the others are to be seen too
            reason = f"{type(error).__name__}: {error}".splitlines()[0][-200:]
            figures = reason, "", ""
            if "an ONNX file holds less than 2 GiB" not in reason:
                verdict = "FAILS"
    gc.collect()
    return name, *figures, f"{time.perf_counter() - start:.0f}", verdict


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backbones", nargs="*", default=list_backbones())
    options = parser.parse_args()
    data = fetch_images("ham10000", download=False)
    rows = np.random.default_rng(0).permutation(len(data.target))[:200]
    X, y = data.images[rows], data.target[rows]
    failed = []

    def judged():
        for name in options.backbones:
            row = judge(name, X, y)
            if row[-1]:
                failed.append(name)
            yield row

    header = ("backbone", "difference", "error of transform", "distance", "seconds", "")
    print_table("embeddings by onnxruntime and by transform", header, judged())
    if failed:
        sys.exit(f"{len(failed)} of {len(options.backbones)} fail: {failed}")


if __name__ == "__main__":
    main()
