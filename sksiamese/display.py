"""Pictures of embeddings, searches, pairs and trainings, as scikit-learn has (layer 4).

Each display is made by a class method ``from_...``, draws at once, on ``ax`` if that is
given and on a new figure otherwise, and is returned with what it has drawn: ``ax_``,
``figure_`` and more. None of them calls ``plt.show``. All need matplotlib.
"""

from sksiamese._embedding_display import EmbeddingDisplay
from sksiamese._history_display import HistoryDisplay
from sksiamese._neighbors_display import NeighborsDisplay
from sksiamese._pair_displays import DetDisplay, PairDistanceDisplay
from sksiamese._pair_grid_display import PairGridDisplay

__all__ = [
    "DetDisplay",
    "EmbeddingDisplay",
    "HistoryDisplay",
    "NeighborsDisplay",
    "PairDistanceDisplay",
    "PairGridDisplay",
]
