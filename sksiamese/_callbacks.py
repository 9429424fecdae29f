"""What happens around the steps of the training loop (layer 2, below ``_net``)."""

import copy

import numpy as np
import torch
from skorch.callbacks import Callback, EarlyStopping, LRScheduler

from sksiamese._checkpoint import check_keys, load_weights
from sksiamese._diagnosis import NotFiniteError
from sksiamese.metrics import pair_roc_auc


def make_callbacks(params, epochs, n_steps, validation, checkpoint=None):
    """Build the callbacks of a training, the caller's own behind those of the library.

    Parameters
    ----------
    params : dict
        The estimator's parameters.

    epochs : int
        Passes to train.

    n_steps : int
        Batches in all of them.

    validation : tuple of (ndarray, ndarray) or None
        Held-out images and their labels, scored after each epoch.

    checkpoint : Checkpoint or None, default=None
        Where the training is kept.

    Returns
    -------
    list
        Callbacks, as skorch takes them.
    """
    callbacks = []
    if validation is not None:
        callbacks.append(("siamese_validation_score", _ValidationScore(*validation)))
    if params["early_stopping"]:
        stopping = _BestWeights(
            "valid_score",
            patience=params["n_iter_no_change"],
            threshold=0,
            lower_is_better=False,
            load_best=True,
            sink=_be_silent,
        )
        callbacks.append(("siamese_early_stopping", stopping))
    if params["lr_schedule"] != "constant":
        if params["lr_schedule"] == "one_cycle":
            policy = torch.optim.lr_scheduler.OneCycleLR
            kwargs = {"max_lr": params["lr"], "total_steps": n_steps}
            # An optimizer that the caller has set keeps its momentum, if any.
            given = params["net_params"] or {}
            kwargs["cycle_momentum"] = not any(k.startswith("optimizer") for k in given)
        else:
            policy = torch.optim.lr_scheduler.CosineAnnealingLR
            kwargs = {"T_max": n_steps}
        schedule = _Schedule(policy, step_every="batch", event_name=None, **kwargs)
        callbacks.append(("siamese_lr_schedule", schedule))
    if params["verbose"]:
        callbacks.append(("siamese_progress", _Progress(epochs)))
    _check_callbacks(params["callbacks"] or [])
    # skorch changes the callbacks it is given, and these are the caller's.
    callbacks += copy.deepcopy(params["callbacks"] or [])
    if checkpoint is not None:  # last: it keeps what the others have done
        callbacks.append(("siamese_checkpoint", _KeepTraining(checkpoint)))
    return callbacks


def _check_callbacks(callbacks):
    """Refuse what is no callback."""
    for given in callbacks:
        callback = given[1] if isinstance(given, tuple) and len(given) == 2 else given
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, Callback):
            raise ValueError(
                f"callbacks has {given!r}: each must be a skorch.callbacks.Callback, or"
                " a pair of a name and such a one."
            )


def close_progress(net):
    """Close the progress bar, if any, however the training ended.

    Parameters
    ----------
    net : skorch.NeuralNet
        The network.
    """
    for _, callback in net.callbacks_:
        if isinstance(callback, _Progress):
            callback.close()


def _be_silent(text):
    """Take skorch's messages, which the progress bar replaces."""


class _ValidationScore(Callback):
    """Record the pair AUC of held-out images after each epoch as ``valid_score``."""

    def __init__(self, X, labels):
        self.X = X
        self.labels = labels

    def on_epoch_end(self, net, **kwargs):
        embeddings = net.embed(self.X)
        if not np.isfinite(embeddings).all():
            rate = net.optimizer_.param_groups[0]["lr"]
            raise NotFiniteError(
                "The embeddings of held-out images became NaN or infinite by the end of"
                f" epoch {len(net.history)}, at a learning rate of {rate:.3g}: lower lr"
                f" (now {net.lr:g}), or check X for values of very different size."
            )
        score = pair_roc_auc(embeddings, self.labels)
        earlier = net.history[:-1, "valid_score"] if len(net.history) > 1 else []
        net.history.record("valid_score", score)
        net.history.record("valid_score_best", score > max(earlier, default=-1))

    def on_train_end(self, net, **kwargs):
        self.X = self.labels = None  # no part of the model


class _BestWeights(EarlyStopping):
    """skorch's early stopping, which also restores the weights of the loss.

    skorch 1.4 restores those of the module only, but a learned head belongs to the
    same epoch. It restores nothing when Ctrl-C ends the training, which this does.
    """

    def on_train_begin(self, net, **kwargs):
        super().on_train_begin(net, **kwargs)
        self.best_criterion_ = None

    def on_epoch_end(self, net, **kwargs):
        try:
            super().on_epoch_end(net, **kwargs)
        finally:
            if self.best_epoch_ == net.history[-1, "epoch"]:
                self.best_criterion_ = copy.deepcopy(net.criterion_.state_dict())

    def on_train_end(self, net, **kwargs):
        if self.best_model_weights_ is not None:
            load_weights(net.module_, self.best_model_weights_)
            load_weights(net.criterion_, self.best_criterion_)
        self.best_model_weights_ = self.best_criterion_ = None

    def state_dict(self):
        names = ("misses_", "dynamic_threshold_", "best_epoch_")
        names += ("best_model_weights_", "best_criterion_")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state):
        check_keys(state, self.state_dict())
        vars(self).update(state)


class _Schedule(LRScheduler):
    """skorch's schedule of the learning rate, which can be gone on with."""

    def state_dict(self):
        return {"policy": self.lr_scheduler_.state_dict(), "batch": self.batch_idx_}

    def load_state_dict(self, state):
        check_keys(state["policy"], self.lr_scheduler_.state_dict())
        self.lr_scheduler_.load_state_dict(state["policy"])
        self.batch_idx_ = state["batch"]


class _KeepTraining(Callback):
    """Go on from a checkpoint, and write it after each epoch."""

    def __init__(self, checkpoint):
        self.checkpoint = checkpoint

    def on_train_begin(self, net, **kwargs):
        # All other callbacks have set themselves up for a new training before.
        self.checkpoint.restore(net)

    def on_epoch_end(self, net, **kwargs):
        self.checkpoint.write(net)

    def on_train_end(self, net, **kwargs):
        if net.stopped_by_callback_:  # before this one was called
            self.checkpoint.write(net, finished=True)
        net.n_resumed_, self.checkpoint = 0, None  # no part of the model


class _Progress(Callback):
    """Show a progress bar with the loss and the validation score."""

    def __init__(self, epochs):
        self.epochs = epochs
        self.bar_ = None

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        if self.bar_ is None:
            from tqdm.auto import tqdm

            n_batches = len(net.get_iterator(dataset_train, training=True))
            self.bar_ = tqdm(
                total=self.epochs * n_batches,
                initial=net.n_resumed_ * n_batches,
                unit="batch",
                desc="fit",
            )

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.bar_.update()

    def on_epoch_end(self, net, **kwargs):
        last = net.history[-1]
        shown = {
            "epoch": f"{last['epoch']}/{self.epochs}",
            "loss": f"{last['train_loss']:.4f}",
        }
        if "valid_score" in last:
            shown["pair AUC"] = f"{last['valid_score']:.4f}"
        self.bar_.set_postfix(shown)

    def close(self):
        if self.bar_ is not None:
            self.bar_.close()
            self.bar_ = None
