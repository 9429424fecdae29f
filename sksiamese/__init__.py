"""Siamese networks as scikit-learn estimators: learn from few labelled images."""

from importlib.metadata import version

from sksiamese._classifier import SiameseClassifier
from sksiamese._embedder import SiameseEmbedder

__all__ = ["SiameseClassifier", "SiameseEmbedder"]
__version__ = version("sksiamese")
