"""Which embedder filled a gallery, told by its weights (layer 3, last steps)."""

import hashlib
import pickle

import joblib
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from torch import uint8

from sksiamese._base import BaseSiamese

# Estimators that hand embedding on to a fitted one inside them.
_INNER = ("best_estimator_", "embedder_", "estimator_")


class Fingerprint:
    """Tells whether an embedder gives the embeddings that it gave before.

    Parameters
    ----------
    embedder : estimator or None
        Fitted. None stands for embeddings that were made elsewhere.
    """

    def __init__(self, embedder):
        self.embedder = embedder
        self._digests = {}

    def __call__(self):
        """Compute the fingerprint, as the embedder is now.

        Returns
        -------
        str
            Equal as long as the weights are. It holds on other machines, and in copies
            and pickles of the embedder.
        """
        if self.embedder is None:
            return "embeddings"
        return hashlib.sha256(
            "\n".join(self._parts(self.embedder)).encode()
        ).hexdigest()[:16]

    def _parts(self, estimator):
        """Fingerprints of the steps that embed."""
        if isinstance(estimator, Pipeline):
            for _, step in estimator.steps:
                if step not in (None, "passthrough"):
                    yield from self._parts(step)
        elif isinstance(estimator, FrozenEstimator):
            yield from self._parts(estimator.estimator)
        elif isinstance(estimator, BaseSiamese):
            yield self._network(estimator.net_.module_)
        else:
            inner = [vars(estimator)[i] for i in _INNER if i in vars(estimator)]
            if inner and isinstance(inner[0], Pipeline | FrozenEstimator | BaseSiamese):
                yield from self._parts(inner[0])
            else:
                yield _learned(estimator)

    def _network(self, module):
        """Fingerprint of a network; of one that has not changed, without reading it.

        The tensors are kept, so that no new ones can come to lie where they were.
        """
        module = getattr(module, "_orig_mod", module)  # if compiled
        tensors = [*module.parameters(), *module.buffers()]
        state = [(id(t), t.data_ptr(), t._version) for t in tensors]
        if self._digests.get("state") != state:
            self._digests = {
                "state": state,
                "tensors": tensors,
                "digest": _digest(module),
            }
        return self._digests["digest"]


def _learned(estimator):
    """Hash an estimator that is no network, with its parameters."""
    try:
        return joblib.hash(estimator)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"embedder can not be told from others, as its {type(estimator).__name__}"
            f" can not be pickled ({error.args[0]}). Use functions and classes of a"
            " module in place of lambdas and local ones."
        ) from None


def _digest(module):
    """Hash all that decides on the embedding of an image; augmentation does not."""
    pre, backbone = module.preprocess, module.backbone
    settings = (type(backbone).__name__, pre.image_size, pre.to_rgb, module.normalize)
    digest = hashlib.sha256(repr(settings).encode())
    for part in (pre, backbone):
        for name, tensor in part.state_dict().items():
            tensor = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.reshape(-1).view(uint8).numpy())
    return digest.hexdigest()
