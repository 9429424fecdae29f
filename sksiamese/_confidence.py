"""A score with its bounds (layer 0: NumPy only)."""

from numbers import Real
from typing import NamedTuple

import numpy as np


class _Bounds(NamedTuple):
    """The three numbers of an interval, by position."""

    estimate: float
    low: float
    high: float


class ConfidenceInterval(_Bounds):
    """A score with the bounds of its confidence interval.

    A tuple of three that unpacks, and prints as papers write it. It speaks of one model
    on images of one kind: of two models judged on the same images, look at the
    difference of their scores instead. A score per rank, such as that of
    :func:`cumulative_match`, has arrays in all three places.

    Read more in the :ref:`User Guide <guide-verify>`.

    Parameters
    ----------
    estimate : float or ndarray
        The score itself.

    low : float or ndarray
        Lower bound.

    high : float or ndarray
        Upper bound.

    See Also
    --------
    confidence_interval : Compute one for any score of rows, pairs or neighbours.
    few_shot_accuracy : Returns one over its episodes.

    Examples
    --------
    >>> from sksiamese.metrics import ConfidenceInterval
    >>> interval = ConfidenceInterval(0.8123456, 0.75, 0.9)
    >>> interval
    ConfidenceInterval(estimate=0.8123, low=0.75, high=0.9)
    >>> print(interval)
    0.8123 (0.7500 to 0.9000)
    >>> estimate, low, high = interval
    """

    __slots__ = ()

    # Fields of a named tuple have no place for text that doctest would find.
    @property
    def estimate(self):
        """Score of all the data.

        It need not lie in the middle of the interval, which is narrower towards 0 or 1
        where a score comes near one of them.

        See Also
        --------
        confidence_interval : Says what is drawn anew.

        Examples
        --------
        >>> from sksiamese.metrics import ConfidenceInterval
        >>> ConfidenceInterval(0.81, 0.75, 0.9).estimate
        0.81
        """
        return self[0]

    @property
    def low(self):
        """Lower bound of the score.

        What can be claimed: at 95 % confidence, about one in 40 of such intervals lies
        wholly above the true value.

        See Also
        --------
        confidence_interval : Sets the confidence.

        Examples
        --------
        >>> from sksiamese.metrics import ConfidenceInterval
        >>> ConfidenceInterval(0.81, 0.75, 0.9).low > 0.5  # better than chance
        True
        """
        return self[1]

    @property
    def high(self):
        """Upper bound of the score.

        Of an error rate it is the bound to plan with: the error that the data does not
        rule out.

        See Also
        --------
        confidence_interval : ``method="exact"`` has a bound where no error was seen.

        Examples
        --------
        >>> from sksiamese.metrics import ConfidenceInterval
        >>> error = ConfidenceInterval(0.02, 0.01, 0.05)
        >>> round(error.high - error.low, 2)  # width
        0.04
        """
        return self[2]

    def __repr__(self):
        shown = (
            f"{name}={np.array2string(np.asarray(value), precision=4, separator=', ')}"
            for name, value in self._asdict().items()
        )
        return f"ConfidenceInterval({', '.join(shown)})"

    def __str__(self):
        if np.ndim(self.estimate):
            return repr(self)
        return f"{self.estimate:.4f} ({self.low:.4f} to {self.high:.4f})"


def check_level(confidence_level):
    """Refuse a confidence that is no share.

    Parameters
    ----------
    confidence_level : float
        Should be in (0, 1).

    Raises
    ------
    ValueError
        If it is not.
    """
    if not (isinstance(confidence_level, Real) and 0 < confidence_level < 1):
        raise ValueError(
            f"confidence_level={confidence_level!r} must be a number in (0, 1)."
        )
