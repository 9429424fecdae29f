"""What must fit a gallery, and what is said if it does not."""

import pytest

from sksiamese.search._header import (
    Header,
    check_header,
    known_ids_error,
    too_few_error,
)
from sksiamese.search._where import Condition

HEADER = Header(64, "cosine", "aaaa", "int")


def test_header_tells_what_does_not_fit():
    check_header(None, dim=3, metric="euclidean", fingerprint="x")
    check_header(HEADER, dim=64, metric="cosine", fingerprint="aaaa")
    with pytest.raises(ValueError, match="made with metric='cosine'"):
        check_header(HEADER, metric="euclidean")
    with pytest.raises(ValueError, match=r"another embedder.*rebuild\(X, ids\)"):
        check_header(HEADER, fingerprint="bbbb")
    with pytest.raises(ValueError, match="length 3, but those .* length 64"):
        check_header(HEADER, dim=3)


def test_errors_show_few_of_many_ids():
    assert "0, 1, 2 and 9,997 more" in str(known_ids_error(range(10_000)))


def test_too_few_items_are_counted():
    assert "is empty" in str(too_few_error(5, 0, []))
    assert "gallery has 1 item; ask for at most 1" in str(too_few_error(5, 1, []))
    conditions = [Condition("a", "in", [1])]
    assert "2 items that match where=" in str(too_few_error(5, 2, conditions))
    assert "No item" in str(too_few_error(5, 0, conditions))
