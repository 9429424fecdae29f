"""How the estimators train their network (layer 3, below ``_base``)."""

import copy
import math
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sksiamese._batches import ResidentData
from sksiamese._build import make_module
from sksiamese._class_balance import balance_classes
from sksiamese._device import isolated_random_state, resolve_device
from sksiamese._diagnosis import (
    N_JUDGED,
    N_SCORED,
    NotFiniteError,
    choose_scored,
    warn_of_failure,
)
from sksiamese._memory import RowReader, kept_memory
from sksiamese._net import make_net
from sksiamese._validation import identify
from sksiamese.pairs import hold_out


class TrainingMethods:
    """Split the images, build the network or go on with it, train and record.

    Mixed into ``BaseSiamese``, whose parameters and checked images it takes.
    """

    def _split(self, X, codes, groups, seed, warm):
        """Rows that train and rows held out.

        After an earlier fit only its own held-out images are known not to have trained:
        a warm fit on the same data keeps the split, one on other data holds none out.
        """
        identity = identify(X, codes, groups)
        if not warm:
            self._split_of = identity, self.validation_fraction, seed
        elif self._streaming or identity != self._split_of[0]:
            self._split_of = identity, 0, seed
        _, fraction, seed = self._split_of
        return hold_out(codes, fraction, groups=groups, random_state=seed)

    def _train(self, X, codes, train, held_out, seed, warm, checkpoint):
        """Build the network, or go on with it, and train it."""
        device = resolve_device(self.device)
        data = ResidentData(X, codes, rows=train, device=device)
        scored = choose_scored(codes, held_out, seed)
        if self.early_stopping and not len(scored):
            raise ValueError(
                "early_stopping=True needs held-out pairs, but fewer than two classes"
                f" can spare two images at validation_fraction="
                f"{self.validation_fraction}, or warm_start met other images than"
                " before: raise it or set early_stopping=False."
            )
        reader, validation = RowReader(X), None
        if len(scored):
            validation = reader.take(scored), codes[scored]
        with isolated_random_state(seed, device), kept_memory(device):
            if warm:  # copies, since training may fail
                module = copy.deepcopy(self.net_.module_)
                criterion = copy.deepcopy(self.net_.criterion_)
            else:
                module, criterion = self._make_module(X, train)
            self.net_ = make_net(
                module,
                criterion,
                data,
                epochs=self._count_epochs(len(train)),
                validation=validation,
                seed=seed,
                params=self._balance(module, criterion, data),
                checkpoint=checkpoint,
            )
            self.net_.partial_fit(data)
        self._streaming = False
        self._record_training()
        if not self._warn_if_interrupted():
            sample = train[:: max(1, len(train) // N_SCORED)]
            seen = self.net_.embed(reader.take(sample))
            scores = self.history_["validation_score"]
            scores = scores if len(scored) >= N_JUDGED else []
            warn_of_failure(seen, scores, fault=self.net_.fault_, stacklevel=5)

    def _warn_if_interrupted(self):
        """Say so when Ctrl-C ended the training."""
        if self.net_.interrupted_:
            warnings.warn(
                f"Training was interrupted after {self.n_iter_} epochs; the estimator"
                " keeps what it had learned.",
                ConvergenceWarning,
                stacklevel=5,
            )
        return self.net_.interrupted_

    def _raise_fault(self):
        """Say what ended the training, now that the estimator can be used."""
        if self.net_.fault_ is not None:
            scores = self.history_["validation_score"]
            epoch = np.argmax(scores) + 1 if self.early_stopping else self.n_iter_
            raise NotFiniteError(
                f"{self.net_.fault_} The estimator keeps the weights of epoch {epoch}"
                " and can be used."
            )

    def _start_stream(self, X, data, seed):
        """Make ``net_`` ready for single passes of which nobody knows how many come."""
        if hasattr(self, "net_"):
            module = copy.deepcopy(self.net_.module_)
            criterion = copy.deepcopy(self.net_.criterion_)
        else:
            module, criterion = self._make_module(X, np.arange(len(X)))
        params = self._balance(module, criterion, data)
        params.update(lr_schedule="constant", early_stopping=False)
        self.net_ = make_net(
            module, criterion, data, epochs=1, seed=seed, params=params
        )
        self._streaming = True

    def _make_module(self, X, rows):
        """Build the untrained network and the loss."""
        params = self.get_params(deep=False)
        module, criterion, self._n_features_out = make_module(
            params, self.image_shape_, X, rows
        )
        return module, criterion

    def _balance(self, module, criterion, data):
        """Set what is done about rare classes; return the parameters for the loop."""
        params = self.get_params(deep=False)
        params["pair_budget"] = balance_classes(
            module, criterion, params, self._known_labels, data.labels
        )
        return params

    def _count_epochs(self, n_samples):
        """Count the passes over the training set."""
        if self.max_epochs == "auto":
            return 12 + math.ceil(40_000 / n_samples)
        return self.max_epochs

    def _record_training(self):
        """Set ``history_`` and ``n_iter_`` from the network's own records."""
        names = {
            "loss": "train_loss",
            "positive_distance": "positive_distance",
            "negative_distance": "negative_distance",
            "validation_score": "valid_score",
            "seconds": "dur",
        }
        # The last record is incomplete after Ctrl-C.
        epochs = [r for r in self.net_.history if "dur" in r]
        self.n_iter_ = len(epochs)
        self.history_ = {
            name: [record.get(key, float("nan")) for record in epochs]
            for name, key in names.items()
        }
