"""Which embedder filled a gallery, told by its weights (layer 3, last steps)."""

import hashlib
import pickle

import numpy as np
import torch
from joblib.hashing import NumpyHasher
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from sksiamese._base import BaseSiamese

# Where estimators keep a fitted one that does all the embedding.
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
        self._networks = {}

    def __call__(self):
        """Compute the fingerprint, as the embedder is now.

        Returns
        -------
        str
            Equal as long as the weights are. It holds on other machines, and in pickles
            of the embedder.

        Raises
        ------
        TypeError
            If a part that is no network can not be pickled.
        """
        if self.embedder is None:
            return "embeddings"
        parts = "\n".join(self._parts(self.embedder))
        return hashlib.sha256(parts.encode()).hexdigest()[:16]

    def _parts(self, estimator):
        """Fingerprints of the steps that embed."""
        if isinstance(estimator, Pipeline):
            for _, step in estimator.steps:
                if step not in (None, "passthrough"):
                    yield from self._parts(step)
        elif isinstance(estimator, FrozenEstimator):
            yield from self._parts(estimator.estimator)
        elif isinstance(estimator, BaseSiamese):
            yield self._network(estimator)
        else:
            inner = [vars(estimator)[i] for i in _INNER if i in vars(estimator)]
            if inner and isinstance(inner[0], Pipeline | FrozenEstimator | BaseSiamese):
                yield from self._parts(inner[0])
            else:
                yield self._learned(estimator)

    def _network(self, estimator):
        """Fingerprint of a network; of one that has not changed, without hashing it.

        The tensors are kept, so that no new ones can come to lie where they were.
        Writing to a tensor raises its version, but not by way of ``.data``, as averages
        of weights are often made; so sums are compared as well.
        """
        module = getattr(estimator.net_.module_, "_orig_mod", estimator.net_.module_)
        tensors = [*module.preprocess.buffers(), *module.backbone.parameters()]
        tensors += module.backbone.buffers()
        state = [(id(t), t.data_ptr(), t._version) for t in tensors]
        state += _sums(tensors)
        # By estimator, so that networks of earlier fits are let go.
        known = self._networks.get(id(estimator))
        if known is None or known[0] != state:
            known = self._networks[id(estimator)] = state, tensors, _digest(module)
        return known[2]

    def _learned(self, estimator):
        """Hash an estimator that is no network, with its parameters."""
        try:
            return _Hasher(self._network).hash(estimator)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(
                "embedder can not be told from others, as its"
                f" {type(estimator).__name__} can not be pickled ({error.args[0]}). Use"
                " functions and classes of a module in place of lambdas and local ones."
            ) from None


class _Hasher(NumpyHasher):
    """Joblib's hash, but the same for pickles.

    That of joblib 1.5 depends on how arrays lie in memory, which pickling changes, and
    on what PyTorch adds to pickled tensors.
    """

    def __init__(self, network):
        self._network = network
        super().__init__(hash_name="md5")

    def save(self, obj):
        """Hash one part, in the form in which it is the same everywhere."""
        if isinstance(obj, BaseSiamese):
            obj = "network", self._network(obj)
        elif isinstance(obj, torch.Tensor):
            obj = "tensor", str(obj.dtype), tuple(obj.shape), _bytes(obj)
        elif type(obj) is np.ndarray and not obj.dtype.hasobject:
            obj = np.ascontiguousarray(obj)
        super().save(obj)


def _sums(tensors):
    """Sum and length of each tensor."""
    with torch.no_grad():
        values = [t.detach().to(torch.float32) for t in tensors]
        sums = [f(t) for t in values for f in (torch.sum, torch.linalg.vector_norm)]
        return torch.stack(sums).tolist() if sums else []


def _digest(module):
    """Hash all that decides on the embedding of an image; augmentation does not."""
    pre, backbone = module.preprocess, module.backbone
    settings = (type(backbone).__name__, pre.image_size, pre.to_rgb, module.normalize)
    digest = hashlib.sha256(repr(settings).encode())
    for part in (pre, backbone):
        for name, tensor in part.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor):
    """Read the values of a tensor as bytes, whatever its type."""
    tensor = tensor.detach().cpu().contiguous().reshape(-1)
    return tensor.view(torch.uint8).numpy().tobytes()
