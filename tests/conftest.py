"""Settings for all tests."""

import os

# Read by SciPy when it is imported; scikit-learn skips its array API checks without it.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

import torch

# Small networks on two cores gain nothing from threads, and the figures of a test must
# not depend on how busy the machine is.
torch.set_num_threads(1)
