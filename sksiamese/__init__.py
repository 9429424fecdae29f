"""Siamese networks as scikit-learn estimators: learn from few labelled images."""

from importlib.metadata import version

from sksiamese._classifier import SiameseClassifier
from sksiamese._embedder import SiameseEmbedder
from sksiamese._persistence import load, save
from sksiamese._verifier import SiameseVerifier

__all__ = ["SiameseClassifier", "SiameseEmbedder", "SiameseVerifier", "load", "save"]
__version__ = version("sksiamese")
