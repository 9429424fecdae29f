"""The public face of the scores."""

from sksiamese import metrics


def test_all_is_sorted_and_documented():
    assert metrics.__all__ == sorted(metrics.__all__)
    for name in metrics.__all__:
        assert getattr(metrics, name).__doc__


def test_docstring_names_all_scorers():
    for name in metrics.SCORERS:
        assert f'``"{name}"``' in metrics.__doc__
