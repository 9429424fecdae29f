"""Siamese networks as scikit-learn estimators: learn from few labelled images."""

from importlib.metadata import version

from sksiamese._classifier import SiameseClassifier
from sksiamese._embedder import SiameseEmbedder
from sksiamese._persistence import load, save
from sksiamese._verifier import SiameseVerifier
from sksiamese._versions import show_versions

__all__ = [
    "SiameseClassifier",
    "SiameseEmbedder",
    "SiameseVerifier",
    "load",
    "save",
    "show_versions",
]
__version__ = version("sksiamese")
