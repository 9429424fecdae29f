"""Write the files that later versions must open, for the format version of today.

``python -m tests.golden.write``, once for each format version and never again for an
older one: what these files are for is that another version wrote them.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import sksiamese
from sksiamese._archive import VERSIONS


def main():
    """Train small models on the digits and save them with what they say."""
    digits = load_digits()
    X, y = digits.images[:300].astype(np.uint8), digits.target[:300]
    params = {
        "backbone": "conv4-16-tanh",
        "image_size": 16,
        "max_epochs": 20,
        "random_state": 0,
    }
    embedder = sksiamese.SiameseEmbedder(loss="logistic", **params)
    head = LogisticRegression(C=3)
    models = {
        "embedder": embedder.fit(X, y),
        "classifier": sksiamese.SiameseClassifier(
            unknown="reject", max_fpr=0.3, n_prototypes=2, priors="train", **params
        ).fit(X, y.astype(str)),
        "knn": sksiamese.SiameseClassifier(classifier="knn", **params).fit(X, y),
        "logistic": sksiamese.SiameseClassifier(classifier=head, **params).fit(X, y),
        "verifier": sksiamese.SiameseVerifier(embedder, random_state=0).fit(X, y),
    }
    for name, model in models.items():
        file = Path(__file__).parent / f"v{VERSIONS['model']}-{name}.model"
        sksiamese.save(model, file)
        images = X[:40]
        if name == "verifier":
            said = model.predict_proba((images[:20], images[20:]))
        else:
            said = getattr(model, "predict_proba", model.transform)(images)
        np.save(file.with_suffix(".npy"), said)


if __name__ == "__main__":
    main()
