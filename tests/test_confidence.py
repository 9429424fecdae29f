"""A score with its bounds: a tuple that reads well."""

import copy
import pickle

import numpy as np
import pytest

from sksiamese._confidence import check_level
from sksiamese.metrics import ConfidenceInterval


def test_interval_is_readable():
    interval = ConfidenceInterval(np.float64(0.98765432), 0.9, 1.0)
    assert repr(interval) == "ConfidenceInterval(estimate=0.9877, low=0.9, high=1.)"
    assert str(interval) == "0.9877 (0.9000 to 1.0000)"
    estimate, low, high = interval
    assert (estimate, low, high) == (interval.estimate, interval.low, interval.high)
    curve = ConfidenceInterval(*np.ones((3, 2)))
    assert str(curve) == repr(curve)


def test_interval_is_a_tuple_of_its_own_kind():
    interval = ConfidenceInterval(low=0.75, estimate=0.8, high=0.9)
    assert interval == (0.8, 0.75, 0.9)
    assert interval._replace(high=1.0) == ConfidenceInterval(0.8, 0.75, 1.0)
    for twin in (pickle.loads(pickle.dumps(interval)), copy.deepcopy(interval)):
        assert type(twin) is ConfidenceInterval
        assert twin == interval
    with pytest.raises(AttributeError):
        interval.low = 0.0


@pytest.mark.parametrize("level", [0, 1, -0.5, 95, "0.95", None, np.nan])
def test_check_level_other_than_a_share_is_refused(level):
    with pytest.raises(ValueError, match="confidence_level=.* must be a number in"):
        check_level(level)
