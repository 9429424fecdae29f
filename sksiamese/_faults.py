"""Faults of a training: numbers that are none, and too little memory.

Layer 2, below ``_net``.
"""

import copy
import gc
import math
import re
import traceback

import numpy as np
import torch

from sksiamese._diagnosis import NotFiniteError
from sksiamese._memory import give_back
from sksiamese.mining import pair_masks, pairwise_distances

# Steps between two looks at their figures, each of which waits for an accelerator.
_STEPS_UNREAD = {"cpu": 1}
_STEPS_UNREAD_ELSEWHERE = 32
# Standardised values beyond which the data is blamed rather than the learning rate.
_FAR = 1e3
# Raw values whose squares 32-bit numbers cannot hold.
_HUGE = 1e19
# What PyTorch, cuDNN and cuBLAS say when memory runs out, and what oneDNN does; all but
# CUDA's own allocator raise a plain RuntimeError.
_OUT_OF_MEMORY = re.compile(
    "can't allocate memory|not enough memory|out of memory|bad_alloc|ALLOC_FAILED"
)
_ONEDNN = re.compile("^could not (create|execute) a (primitive|memory object)$")
# Xbyak, which writes oneDNN's kernels, keeps the error in the thread: its pull request
# 5907 mends that.
_STUCK = (
    "no kernel can be built in this thread since memory ran out (a fault of oneDNN):"
    " restart Python"
)


class Epoch:
    """One pass over the batches, which ends early where a figure is no number.

    On the CPU each step is looked at. An accelerator would have to be waited for, so
    its figures stay there for some steps; what it trains meanwhile is given up with the
    rest of the epoch.

    Parameters
    ----------
    net : SiameseNet
        The network in training.

    iterator : Batches
        Its data and the rows of each batch.
    """

    def __init__(self, net, iterator):
        self.net = net
        self.dataset = iterator.dataset
        self.batches = iterator.rows
        self._trained = [p for g in net.optimizer_.param_groups for p in g["params"]]
        # The mask of an attention, for one, is infinite on purpose.
        self._known = [_not_finite(part) for part in (net.module_, net.criterion_)]
        kind = torch.device(net.device).type
        self._wait = _STEPS_UNREAD.get(kind, _STEPS_UNREAD_ELSEWHERE)
        self._sums = np.zeros(5)
        self._n_read = 0
        self._figures, self._steps = [], []

    def run(self, training, prefix, step_fn):
        """Run the steps; record the mean loss and pair distances at the end.

        Parameters
        ----------
        training : bool
            Whether to train, as the callbacks are told.

        prefix : str
            Prefix of the recorded names.

        step_fn : callable
            Called with each batch.

        Raises
        ------
        NotFiniteError
            If a loss, a gradient or a weight is NaN or infinite.

        MemoryError
            If a batch does not fit into memory.
        """
        try:
            for rows in self.batches:
                self._run_batch(rows, training, step_fn)
                if len(self._figures) == self._wait:
                    self._read()
        except KeyboardInterrupt:
            self._read()  # what was learned may be NaN
            raise
        self._read()
        self._check_weights()
        self._record(prefix)

    def _run_batch(self, rows, training, step_fn):
        """Run a step and its callbacks; leave its figures on the device."""
        batch = self.dataset.take(rows)
        lr = self.net.optimizer_.param_groups[0]["lr"]
        self.net.notify("on_batch_begin", batch=batch, training=training)
        try:
            step = step_fn(batch, labels=batch[1])
            gradients = [p.grad for p in self._trained if p.grad is not None]
            figures = _step_figures(step["loss"], step["y_pred"], batch[1], gradients)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            _refuse_batch(self.net, batch, step_fn, error)
        self._figures.append(figures)
        self._steps.append((rows, lr))
        self.net.notify("on_batch_end", batch=batch, training=training, **step)

    def _read(self):
        """Read the figures of the last steps from the device; stop at a fault."""
        if not self._figures:
            return
        figures = torch.stack(self._figures).tolist()
        for (*sums, gradient), step in zip(figures, self._steps, strict=True):
            self._n_read += 1
            for name, value in ("loss", sums[0]), ("gradient", gradient):
                if not math.isfinite(value):
                    what = f"The {name} became {value} in epoch {self._epoch}"
                    untrained = self._epoch == self._n_read == 1
                    self._refuse(what, *step, untrained=untrained)
            self._sums += sums
        self._last = self._steps[-1]
        self._figures, self._steps = [], []

    def _check_weights(self):
        """Look at the weights, which the last step may have spoilt."""
        parts = self.net.module_, self.net.criterion_
        if not all(map(is_finite, parts, self._known)):
            self._refuse(
                f"The weights became NaN or infinite by the end of epoch {self._epoch}",
                *self._last,
            )

    def _record(self, prefix):
        """Write down the means."""
        loss, positive, n_positive, negative, n_negative = self._sums.tolist()
        loss /= self._n_read
        history, nan = self.net.history, math.nan
        name = prefix + "_loss"
        # An epoch that Ctrl-C ended has none.
        earlier = [epoch[name] for epoch in list(history)[:-1] if name in epoch]
        history.record(name, loss)
        history.record(name + "_best", loss < min(earlier, default=math.inf))
        positive = positive / n_positive if n_positive else nan
        negative = negative / n_negative if n_negative else nan
        history.record("positive_distance", positive)
        history.record("negative_distance", negative)
        history.record(prefix + "_batch_count", self._n_read)

    @property
    def _epoch(self):
        return len(self.net.history)

    @torch.no_grad()
    def _refuse(self, what, rows, lr, *, untrained=False):
        """Stop, with the figures of a step, what they mean and what to do."""
        x, _ = self.dataset.take(rows)
        z = self.net.module_.preprocess(x).flatten(1)
        low, high = float(x.double().min()), float(x.double().max())
        size = z.abs().amax(dim=1).nan_to_num(nan=math.inf, posinf=math.inf)
        if self.dataset.rows is not None:
            rows = self.dataset.rows[rows]
        far, advice = float(size.max()), f"lower lr (now {self.net.lr})."
        if far > _FAR and max(-low, high) > _HUGE:
            cause = (
                "The likely cause is the size of the values, which 32-bit numbers"
                " cannot hold or square: divide X, for example by its largest value, or"
                f" {advice}"
            )
        elif far > _FAR:
            cause = (
                "The likely cause is values of very different size, most of all in"
                f" X[{rows[int(size.argmax())]}]: repair or remove what is far off,"
                f" scale X alike in all calls, or {advice}"
            )
        elif untrained:
            cause = (
                "No step had been taken, so lr is not the cause: look for a division"
                " by zero, a root or a logarithm of it, or weights that are not finite,"
                " in your loss, backbone, weights or augment."
            )
        else:
            cause = f"The likely cause is the learning rate: {advice}"
        raise NotFiniteError(
            f"{what}, batch {self._n_read} of {len(self.batches)}, at a learning rate"
            f" of {float(lr):.3g}. The values of that batch lie between {low:.4g} and"
            f" {high:.4g}, up to {far:.3g} once standardised as the"
            f" network does. {cause}"
        )


@torch.no_grad()
def _step_figures(loss, embeddings, labels, gradients):
    """Loss; sum and number of positive, of negative distances; size of the gradient."""
    distances = pairwise_distances(embeddings.detach())
    positives, negatives = pair_masks(labels)
    return torch.stack(
        [
            loss.detach(),
            (distances * positives).sum(),
            positives.sum(),
            (distances * negatives).sum(),
            negatives.sum(),
            _size(gradients, loss),
        ]
    )


def _size(tensors, like):
    """Greatest norm; infinite also beyond 1.8e19, whose square float32 cannot hold.

    A gradient of that size trains nothing, as optimizers square it too. The exact
    question costs ten times as much.
    """
    if not tensors:
        return like.new_zeros(())
    return torch.stack(torch._foreach_norm(tensors)).max()


@torch.no_grad()
def is_finite(module, but=()):
    """Whether all weights and statistics of a module are numbers.

    Parameters
    ----------
    module : Module
        Any module.

    but : collection of str, default=()
        Names, in its state dict, of those not to look at.

    Returns
    -------
    bool
        False if one of them is NaN or infinite.
    """
    named = module.state_dict().items()
    tensors = [t for name, t in named if torch.is_tensor(t) and name not in but]
    tensors = [t for t in tensors if t.is_floating_point() and t.numel()]
    if not tensors or bool(_size(tensors, tensors[0]).isfinite()):
        return True
    return all(bool(t.isfinite().all()) for t in tensors)


def _not_finite(module):
    """Names of what is not finite although training does not change it."""
    if is_finite(module):
        return set()
    return {
        name
        for name, value in module.state_dict(keep_vars=True).items()
        if torch.is_tensor(value) and not value.requires_grad
        if not bool(value.isfinite().all())
    }


def trained_parameters(net):
    """List the parameters of a network and its loss that training changes.

    Parameters
    ----------
    net : SiameseNet
        The network.

    Returns
    -------
    list of Parameter
        One at least.

    Raises
    ------
    ValueError
        If all are frozen.
    """
    trained = [p for _, p in net.get_all_learnable_params() if p.requires_grad]
    if not trained:
        raise ValueError(
            "There is nothing to train: backbone has no parameters, or all of them are"
            " frozen (requires_grad=False), and so are those of loss. Give backbone"
            " without freezing it, and let trainable choose the layers that train."
        )
    return trained


class Snapshot:
    """What a network had learned at some time, to go back to.

    Parameters
    ----------
    net : SiameseNet
        The network.

    n_epochs : int
        Records of its history to keep.

    optimizer : bool, default=False
        Whether to keep the optimizer's state too, as is needed to train on.
    """

    def __init__(self, net, n_epochs, *, optimizer=False):
        names = ["module_", "criterion_", *(["optimizer_"] if optimizer else [])]
        self.states = {n: copy.deepcopy(getattr(net, n).state_dict()) for n in names}
        self.n_epochs = n_epochs

    def restore(self, net):
        """Bring back what the network had learned.

        Parameters
        ----------
        net : SiameseNet
            The network, changed in place.
        """
        for name, state in self.states.items():
            getattr(net, name).load_state_dict(state)
        del net.history[self.n_epochs :]


def is_out_of_memory(error):
    """Whether an error says that memory ran out.

    Parameters
    ----------
    error : Exception
        Any error.

    Returns
    -------
    bool
        True for those of Python, NumPy, PyTorch and the libraries below it.

    Examples
    --------
    >>> from sksiamese._faults import is_out_of_memory
    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    True
    """
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    told = _OUT_OF_MEMORY.search(str(error)) or _ONEDNN.search(str(error))
    return isinstance(error, RuntimeError) and told is not None


def _refuse_batch(net, batch, step_fn, error):
    """Raise the error that says which batch size fits, found by trying smaller ones."""
    # The frames of the failed step hold its activations.
    traceback.clear_frames(error.__traceback__)
    n = size = len(batch[1])
    failure = error
    while failure is not None and is_out_of_memory(failure) and size > 3:
        tried, size = size, size // 2
        # The rows of a class stand together: an even choice keeps all classes.
        part = [values[:: n // size][:size] for values in batch]
        failure = _try(net, part, step_fn)
    _release(net.device, net.optimizer_)
    message = (
        f"batch_size={net.batch_size} needs more memory in a step, with {n} images,"
        f" than {_memory(net.device)}; "
    )
    if failure is None:
        message += f"{size} fits: set batch_size={size}, or use "
    elif not is_out_of_memory(failure):  # of a loss that needs more images, say
        message += (
            f"not even {tried} images fit, and {size} end in another error"
            f" ({type(failure).__name__}: {failure}): use "
        )
    elif _ONEDNN.search(str(failure)):
        message += f"{_STUCK}, set a smaller batch_size, or use "
    else:
        message += f"not even {size} images fit: use "
    message += "smaller images (image_size) or a smaller backbone."
    raise MemoryError(message) from error


def _try(net, part, step_fn):
    """Try whole steps, the optimizer's included; return the error, if any."""
    _release(net.device, net.optimizer_)
    try:
        for _ in range(2):  # the second has what the first leaves behind
            step_fn(part, labels=part[1])
    except Exception as error:
        traceback.clear_frames(error.__traceback__)
        return error
    return None


def _release(device, optimizer=None):
    """Let go of what a failed attempt may still hold."""
    if optimizer is not None:
        optimizer.zero_grad(set_to_none=True)
        gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
    else:
        give_back()


def _memory(device):
    """Say how much memory there is."""
    if torch.device(device).type != "cuda":
        return "this process can have"
    there = torch.cuda.get_device_properties(device)
    free, _ = torch.cuda.mem_get_info(device)
    gib = 1 << 30
    return (
        f"{there.name} has ({there.total_memory / gib:.3g} GiB, of which"
        f" {free / gib:.3g} are free)"
    )


def run_in_chunks(function, n, length, least, device):
    """Call a function on consecutive rows, on fewer at a time where memory is short.

    Parameters
    ----------
    function : callable
        Called with a slice of rows, returns an array with as many.

    n : int
        Number of rows.

    length : int
        Rows of a chunk.

    least : int
        Rows below which a chunk is not divided.

    device : str or torch.device
        Where the function computes.

    Returns
    -------
    ndarray of shape (n, ...) or None
        What the function returned, one after the other; None without rows.

    Raises
    ------
    MemoryError
        If ``least`` rows do not fit.
    """
    results, start = None, 0
    while start < n:
        rows = slice(start, min(start + length, n))
        n_rows = rows.stop - rows.start
        try:
            part = function(rows)
            if results is None:
                # Filled bit by bit: small results kept between large activations
                # would break up the heap.
                results = np.empty((n, *part.shape[1:]), part.dtype)
            results[rows] = part
            start = rows.stop
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)  # they hold the activations
            if n_rows <= least:
                advice = "free some"
                if _ONEDNN.search(str(error)):
                    advice = f"{_STUCK}, free memory"
                images = "one image" if n_rows == 1 else f"{n_rows} images"
                raise MemoryError(
                    f"Not even {images} at a time can be embedded in the memory"
                    f" that {_memory(device)}: {advice}, or use smaller images"
                    " (image_size) or a smaller backbone."
                ) from error
            length = max(least, n_rows // 2)
            _release(device)
    return results
