"""The network and its training loop, on skorch (layer 2)."""

import dis
import inspect
from collections import deque

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import EpochTimer

from sksiamese._batches import (
    VECTORS,
    Batches,
    ResidentData,
    chunk_length,
    make_batches,
)
from sksiamese._callbacks import close_progress, make_callbacks
from sksiamese._device import has_bfloat16
from sksiamese._diagnosis import NotFiniteError
from sksiamese._faults import Epoch, Snapshot, run_in_chunks, trained_parameters


class SiameseNet(NeuralNet):
    """Network of skorch with resident data, class-balanced batches and pair statistics.

    Differs from ``NeuralNet`` in these ways: batches come by index from one resident
    array, chosen by class; the module sees the labels of a batch; a step may run in
    bfloat16; losses and pair distances add up on the device and are read once per
    epoch; Ctrl-C is remembered.

    Parameters
    ----------
    module : Module
        An ``EmbeddingNet``, trained in place.

    criterion : Module
        Called as ``criterion(embeddings, labels)``.

    classes_per_batch : int or "auto", default="auto"
        Classes in a batch.

    pair_budget : {"balanced", "natural"} or dict, default="balanced"
        What batches hold, see :func:`make_batches`; a dict has encoded labels as keys.

    bfloat16 : bool, default=False
        Run training steps in bfloat16; losses and predictions stay in float32.

    batch_seed : int or None, default=None
        Seed of the batches.

    **kwargs : dict
        Arguments of ``NeuralNet``.
    """

    n_resumed_ = 0  # epochs that a checkpoint has brought

    def __init__(
        self,
        module,
        criterion,
        *,
        classes_per_batch="auto",
        pair_budget="balanced",
        bfloat16=False,
        batch_seed=None,
        **kwargs,
    ):
        super().__init__(module, criterion, **kwargs)
        self.classes_per_batch = classes_per_batch
        self.pair_budget = pair_budget
        self.bfloat16 = bfloat16
        self.batch_seed = batch_seed

    @property
    def _default_callbacks(self):
        return [("epoch_timer", EpochTimer())]

    def initialize_module(self):
        """Take the module as it is, in the memory format that convolutions like.

        Returns
        -------
        SiameseNet
            The network.
        """
        # All of it in one mode, which _set_training goes by.
        self.module_ = self.module.to(memory_format=torch.channels_last).eval()
        self._parts = list(self.module_.modules())  # compiled or not
        return self

    def initialize_optimizer(self, triggered_directly=None):
        """Build the optimizer; biases and normalisation scales do not decay.

        Parameters
        ----------
        triggered_directly : None
            Ignored by skorch.

        Returns
        -------
        SiameseNet
            The network.
        """
        trained = trained_parameters(self)
        kwargs = {"lr": self.lr, **self.get_params_for("optimizer")}
        decaying = [p for p in trained if p.ndim > 1]
        exempt = [p for p in trained if p.ndim <= 1]
        groups = [{"params": decaying}, {"params": exempt, "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
        try:
            self.optimizer_ = self.optimizer(groups, **kwargs)
        except TypeError as error:
            raise ValueError(f"net_params does not fit: {error}") from error
        return self

    def get_dataset(self, X, y=None):
        """Wrap arrays as resident data.

        Parameters
        ----------
        X : ndarray or ResidentData
            Raw values.

        y : int64 ndarray or None, default=None
            Encoded labels.

        Returns
        -------
        ResidentData
            Source of batches.
        """
        if isinstance(X, ResidentData):
            return X
        return ResidentData(X, y, device=self.device)

    def get_iterator(self, dataset, training=False):
        """Iterate over batches for training, or over all rows in order.

        Parameters
        ----------
        dataset : ResidentData
            Source of batches.

        training : bool, default=False
            Whether the batches are for training.

        Returns
        -------
        iterable of (Tensor, Tensor or None)
            Raw values and labels.
        """
        if not training:
            step = chunk_length(dataset)
            rows = [slice(k, k + step) for k in range(0, len(dataset), step)]
        else:
            rows = make_batches(
                dataset.labels,
                self.batch_size,
                self.classes_per_batch,
                self.pair_budget,
                random_state=np.random.default_rng(self.batch_seed),
            )
            for _ in range(self.n_resumed_):  # draws what was drawn then
                deque(rows, maxlen=0)
        return Batches(dataset, rows)

    def infer(self, x, **fit_params):
        """Embed a batch, in bfloat16 where that is wanted for training.

        Parameters
        ----------
        x : Tensor
            Raw values.

        **fit_params : dict
            Passed to the module.

        Returns
        -------
        float32 Tensor of shape (n, embedding_dim)
            Embeddings.
        """
        if not self.module_.training:
            return self._infer_evenly(x)
        kind = torch.device(self.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=self.bfloat16):
            return self.module_(x, **fit_params)

    def _set_training(self, training=True):
        # skorch switches every submodule in every step. Frozen layers never train.
        if training:
            done = self._parts[0].training
        else:
            done = not any(part.training for part in self._parts)
        if not done:
            super()._set_training(training)

    def _infer_evenly(self, x):
        """Embed a batch in float32; feature vectors in batches of one length.

        Matrix products of other lengths round differently, and the embedding of a
        vector must not depend on what else is in the batch.
        """
        if x.ndim > 2:
            return self.module_(x)
        missing = -len(x) % VECTORS
        padded = torch.cat([x, x[-1:].expand(missing, -1)]) if missing else x
        return self.module_(padded)[: len(x)]

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Run one pass; record the mean loss and pair distances once, at its end.

        Parameters
        ----------
        iterator : iterable or None
            Batches; None does nothing.

        training : bool
            Whether to train.

        prefix : str
            Prefix of the recorded names.

        step_fn : callable
            Called with each batch.

        **fit_params : dict
            Passed to ``step_fn``.

        Raises
        ------
        NotFiniteError
            If a loss, a gradient or a weight is NaN or infinite.

        MemoryError
            If a batch does not fit into memory; the message says which one does.
        """
        if iterator is None:
            return
        if self.max_epochs > 1 and len(self.history) > 1:  # else nothing to go back to
            self._good = Snapshot(self, len(self.history) - 1)
        Epoch(self, iterator).run(training, prefix, step_fn)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Compute the loss of a batch.

        Parameters
        ----------
        y_pred : Tensor of shape (n, embedding_dim)
            Embeddings.

        y_true : int64 Tensor of shape (n,)
            Encoded labels.

        X : Tensor
            Unused.

        training : bool, default=False
            Unused.

        Returns
        -------
        Tensor of shape ()
            Loss.

        Raises
        ------
        ValueError
            If the loss module returns anything else.
        """
        loss = self.criterion_(y_pred, y_true)
        if not isinstance(loss, torch.Tensor) or loss.ndim:
            kind = getattr(loss, "shape", type(loss).__name__)
            raise ValueError(
                f"loss={self.criterion_!r} must return a tensor with one value, but"
                f" returned {kind}: reduce it, for example by its mean."
            )
        return loss

    def notify(self, method_name, **cb_kwargs):
        """Call the callbacks; one that stops the training is no Ctrl-C.

        Parameters
        ----------
        method_name : str
            Event.

        **cb_kwargs : dict
            Its arguments.
        """
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as stop:
            # skorch's EarlyStopping ends the training in this way: by a statement of
            # its method itself, whereas Ctrl-C strikes between statements or deeper.
            last = stop.__traceback__
            while last.tb_next is not None:
                last = last.tb_next
            code = last.tb_frame.f_code
            raised = code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]
            ended = method_name == code.co_name == "on_epoch_end"
            self.stopped_by_callback_ = ended and raised
            raise

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Run the epochs and remember whether Ctrl-C or a fault ended them.

        A fault after whole epochs ends the training with the network as it was after
        the last of them, and ``fault_`` set to the message.

        Parameters
        ----------
        X : ResidentData
            Training data.

        y : None
            Part of ``X``.

        epochs : int or None, default=None
            Number of passes; None takes ``max_epochs``.

        **fit_params : dict
            Passed on.

        Returns
        -------
        SiameseNet
            The network.
        """
        self.interrupted_ = self.stopped_by_callback_ = False
        self.fault_ = self._good = None
        try:
            epochs = (epochs or self.max_epochs) - self.n_resumed_
            return super().fit_loop(X, y, epochs, **fit_params)
        except KeyboardInterrupt:
            self.interrupted_ = not self.stopped_by_callback_
            raise  # skorch ends the training quietly
        except NotFiniteError as fault:
            if self._good is None:
                raise
            self._good.restore(self)
            self.fault_ = str(fault)
            return self
        finally:
            self._good = None
            close_progress(self)

    def __getstate__(self):
        # skorch stores module and module_ apart, but here they are one.
        alone = {"module": None, "criterion": None, "_parts": None}
        return {**super().__getstate__(), **alone}

    def __setstate__(self, state):
        super().__setstate__(state)
        self.module, self.criterion = self.module_, self.criterion_
        module = getattr(self.module_, "_orig_mod", self.module_)  # if compiled
        self._parts = list(module.modules())

    def embed(self, X):
        """Embed an array, in chunks and in float32.

        Parameters
        ----------
        X : ndarray of shape (n, ...) or ResidentData
            Raw values.

        Returns
        -------
        float32 ndarray of shape (n, embedding_dim)
            Embeddings.

        Raises
        ------
        MemoryError
            If not even one image fits into memory.
        """
        self._set_training(False)
        data = self.get_dataset(X)

        @torch.no_grad()
        def embed_rows(rows):
            return self._infer_evenly(data.take(rows)[0]).cpu().numpy()

        least = VECTORS if data.X.ndim == 2 else 1  # a shorter one would be padded
        return run_in_chunks(
            embed_rows, len(data), chunk_length(data), least, data.device
        )

    def pair_proba(self, first, second):
        """Probability, by the loss's learned head, that pairs are of one class.

        Parameters
        ----------
        first, second : float32 ndarrays of shape (n_pairs, embedding_dim)
            Embeddings of the members.

        Returns
        -------
        float32 ndarray of shape (n_pairs,)
            Probabilities.
        """
        with torch.no_grad():
            pairs = [torch.from_numpy(z).to(self.device) for z in (first, second)]
            return self.criterion_.pair_logit(*pairs).sigmoid().cpu().numpy()


def make_net(
    module,
    criterion,
    data,
    *,
    epochs,
    seed,
    params,
    validation=None,
    checkpoint=None,
):
    """Build an initialised network from an estimator's parameters.

    Parameters
    ----------
    module : EmbeddingNet
        The network.

    criterion : Module
        The loss.

    data : ResidentData
        Training data.

    epochs : int
        Passes to train.

    seed : int
        Seed of the batches.

    params : dict
        The estimator's parameters.

    validation : tuple of (ndarray, ndarray) or None, default=None
        Held-out images and their labels, scored after each epoch.

    checkpoint : Checkpoint or None, default=None
        Where the training is kept.

    Returns
    -------
    SiameseNet
        Initialised network.
    """
    reduced = params["precision"] == "bfloat16"
    if params["precision"] == "auto":
        # The small matrices of a network without convolutions gain nothing.
        convolves = any(isinstance(m, torch.nn.Conv2d) for m in module.modules())
        reduced = convolves and has_bfloat16(data.device)
    given = _check_net_params(params["net_params"] or {})
    optimizer = given.get("optimizer", torch.optim.AdamW)
    arguments = {
        "optimizer": optimizer,
        "lr": params["lr"],
        "max_epochs": epochs,
        "batch_size": params["batch_size"],
        "classes_per_batch": params["classes_per_batch"],
        "pair_budget": params["pair_budget"],
        "batch_seed": seed,
        "bfloat16": reduced,
        "device": str(data.device),
        "train_split": None,
        "verbose": 0,
        **given,
    }
    if "weight_decay" in inspect.signature(optimizer).parameters:
        arguments.setdefault("optimizer__weight_decay", params["weight_decay"])
    if optimizer is torch.optim.AdamW:
        arguments.setdefault("optimizer__fused", True)
    net = SiameseNet(module, criterion, **arguments)
    n_steps = epochs * len(net.get_iterator(data, training=True))
    callbacks = make_callbacks(params, epochs, n_steps, validation, checkpoint)
    net.set_params(callbacks=callbacks)
    return net.initialize()


def _check_net_params(given):
    """Refuse arguments of skorch's that parameters of the estimator stand for."""
    allowed = ("optimizer", "compile", "torch_load_kwargs", "use_caching")
    for name in given:
        if str(name).split("__")[0] not in allowed:
            raise ValueError(
                f"net_params has {name!r}, but only {', '.join(allowed)} and"
                " optimizer__... can be set there: the rest follows from the"
                " estimator's own parameters, such as lr, max_epochs, batch_size,"
                " callbacks, loss and backbone."
            )
    if not callable(given.get("optimizer", torch.optim.AdamW)):
        raise ValueError(f"net_params={given!r}: optimizer must be a class of torch's.")
    return given
