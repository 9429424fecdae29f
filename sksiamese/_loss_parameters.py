"""What the parameters of losses may be (layer 1)."""

from numbers import Integral, Real

from torch import Tensor

from sksiamese._validation import Interval, StrOptions, validate_params
from sksiamese.mining import MINING

# A tensor may be learned.
_POSITIVE = [Interval(Real, 0, None, closed="neither"), Tensor]

# Decorates constructors; each takes those of its own parameters.
check_loss_parameters = validate_params(
    {
        "alpha": _POSITIVE,
        "base": [Interval(Real, None, None, closed="neither"), Tensor],
        "beta": _POSITIVE,
        "class_weight": [None, Tensor],
        "embedding_dim": [Interval(Integral, 1, None, closed="left")],
        "gamma": [Interval(Real, 0, None, closed="left")],
        "margin": _POSITIVE,
        "mining": [StrOptions(set(MINING))],
        "on": [StrOptions({"difference", "distance"})],
        "temperature": _POSITIVE,
    },
    prefer_skip_nested_validation=True,
)
