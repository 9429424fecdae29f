"""A training kept in a file, from which the same call goes on after a stop.

Layer 2, below ``_callbacks`` and ``_net``.
"""

import contextlib
import os
import random
import warnings
from pathlib import Path

import numpy as np
import torch

from sksiamese._archive import locked
from sksiamese._describe import (
    Description,
    describe_data,
    describe_machine,
    describe_params,
)
from sksiamese._device import resolve_device
from sksiamese._state_file import check_mersenne_twister, read_state, write_state

_FILE = "training.checkpoint"
_KIND = "checkpoint"
_PARTS = {
    "run": dict,
    "seed": int,
    "finished": bool,
    "history": list,
    "module": dict,
    "criterion": dict,
    "optimizer": dict,
    "callbacks": dict,
    "generators": dict,
}
_N_SHOWN = 5  # differences
_CODE = "Functions and classes count with the global values and classes they use."
_REMEDIES = {
    "X": "Searches, cross-validation and calibration train on many parts of X: set"
    " checkpoint_dir=None there; a verifier needs an int as random_state.",
    "augment": _CODE,
    "loss": _CODE,
    "random_state": "An int gives one seed in all calls, and None takes the file's.",
    "backbone": "A module counts with its weights: seed PyTorch before you build it, or"
    " pass its class.",
    "warm_start": "Each fit of a warm start needs a folder of its own.",
    "the number of threads": "torch.set_num_threads sets it.",
}


@contextlib.contextmanager
def open_checkpoint(folder, callbacks):
    """Open the checkpoint of a training, for this process alone.

    Parameters
    ----------
    folder : path-like or None
        Where it is, or will be; None keeps nothing. Made if it is missing.

    callbacks : list or None
        The caller's callbacks, as skorch takes them.

    Yields
    ------
    Checkpoint or None
        The checkpoint. Another process that opens it waits for the end of the block.

    Raises
    ------
    OSError
        If the folder can not be made, read or written.

    ValueError
        If the name is empty, the file in it is no checkpoint, damaged or of a newer
        version, or if a callback's state can not be kept.
    """
    if folder is None:
        yield None
        return
    if not os.fspath(folder):
        raise ValueError("checkpoint_dir='' is no folder: name one, or set it to None.")
    _check_callbacks(callbacks or [])
    path = Path(os.path.expanduser(folder)).absolute() / _FILE
    with contextlib.ExitStack() as stack:
        with _named_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(path))
            checkpoint = Checkpoint(path)
        yield checkpoint


def refuse_checkpoint(folder):
    """Refuse ``checkpoint_dir`` in ``partial_fit``.

    Parameters
    ----------
    folder : path-like or None
        The parameter.

    Raises
    ------
    ValueError
        If it is set.
    """
    if folder is not None:
        raise ValueError(
            f"checkpoint_dir={str(folder)!r} is for fit, whose call can be repeated:"
            " set it to None for partial_fit, and keep the estimator between chunks by"
            " sksiamese.save."
        )


class Checkpoint:
    """File with the state of a training after its last whole epoch.

    Parameters
    ----------
    path : Path
        The file, which need not be there. It is to be locked.

    Raises
    ------
    ValueError
        If it is there and no checkpoint, damaged or of a newer version.
    """

    def __init__(self, path):
        self.path = path
        self._state = self._read()
        self._run = None
        self._seed = None
        self._beside = None

    @property
    def seed(self):
        """Seed of the training in the file.

        Returns
        -------
        int or None
            None if there is none.
        """
        return None if self._state is None else self._state["seed"]

    def claim(self, params, seed, data, warm_net):
        """Say which training is about to begin.

        Parameters
        ----------
        params : dict
            The estimator's parameters that decide on the network.

        seed : int
            Seed of the training.

        data : tuple of (X, codes, train, held_out, labels)
            Images, encoded labels, rows that train, rows held out, and the labels in
            the order of their codes.

        warm_net : SiameseNet or None
            Network that a warm start goes on from.

        Raises
        ------
        ValueError
            If a parameter has a random generator of its own, which no seed resets.
        """
        self._seed = seed
        self._run = {
            **describe_params(params),
            "random_state": f"one that gives the seed {seed}",
            "warm_start": self._describe_start(warm_net),
            **describe_data(*data),
            **describe_machine(resolve_device(params["device"])),
        }

    def restore(self, net):
        """Bring a network to where the training in the file was, if there is one.

        Parameters
        ----------
        net : SiameseNet
            Network about to train, its callbacks included.

        Raises
        ------
        ValueError
            If the file is of another training; the message says what differs.

        OSError
            If the folder can not be written.
        """
        self._run["precision"] = "bfloat16" if net.bfloat16 else "float32"
        net.started_from_ = self._run["warm_start"]
        state, self._state = self._state, None
        # Before the end of its first epoch a training has nothing to be kept.
        if state is not None and (state["history"] or state["run"] == self._run):
            self._compare(state["run"])
            self._load(net, state)
        self._beside = _describe_beside(net)
        if net.n_resumed_ < net.max_epochs:
            self.write(net)  # better now than never if that fails

    def write(self, net, *, finished=False):
        """Write where the training is now.

        Parameters
        ----------
        net : SiameseNet
            Network after a whole epoch.

        finished : bool, default=False
            Whether a callback has ended the training.

        Raises
        ------
        OSError
            If the folder can not be written. The file is as it was then.

        TypeError
            If a callback or the optimizer has a state that can not be written.

        Warns
        -----
        UserWarning
            After the first epoch, if training has changed what is not in the file.
        """
        self._warn_of_loss(net)
        state = {
            "run": self._run,
            "seed": self._seed,
            "finished": finished,
            "history": list(net.history),
            "module": net.module_.state_dict(),
            "criterion": net.criterion_.state_dict(),
            "optimizer": net.optimizer_.state_dict(),
            "callbacks": {
                name: callback.state_dict()
                for name, callback in net.callbacks_
                if hasattr(callback, "state_dict")
            },
            "generators": _generator_states(net.device),
        }
        try:
            with _named_errors(self.path):
                write_state(self.path, _KIND, state)
        except TypeError as error:
            raise TypeError(
                f"checkpoint_dir={str(self.path.parent)!r} can not keep this training:"
                f" {error} What callbacks record and what their state_dict() returns"
                " must be plain values, arrays or tensors."
            ) from error

    def _warn_of_loss(self, net):
        """Warn after the first epoch of a state that the file does not have."""
        if len(net.history) == net.n_resumed_ or self._beside is None:
            return
        before, self._beside = self._beside, None
        changed = [n for n, v in _describe_beside(net).items() if v != before[n]]
        if changed:
            warnings.warn(
                f"Training changes something in {' and '.join(changed)} that is no"
                " weight or buffer, so checkpoint_dir does not keep it: if results"
                " depend on it, a training that is gone on with ends otherwise than one"
                " that was not stopped. Keep numbers that training changes in a module,"
                " by register_buffer, or give it get_extra_state and set_extra_state.",
                UserWarning,
                stacklevel=2,
            )

    def _read(self):
        """State in the file, or None."""
        try:
            state = read_state(self.path, _KIND)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ValueError(f"{error} {_instead(self.path)}") from error
        if not _is_training(state):
            raise ValueError(
                f"{self.path} is no checkpoint of a training. {_instead(self.path)}"
            )
        return state

    def _describe_start(self, warm_net):
        """From which weights a training starts."""
        if warm_net is None:
            return "no start from earlier weights"
        earlier = getattr(warm_net, "started_from_", None)
        if (
            warm_net.interrupted_
            and self._state is not None
            and self._state["run"].get("warm_start") == earlier
        ):
            return earlier  # goes on with what Ctrl-C had ended
        parts = warm_net.module_, warm_net.criterion_
        weights = Description([dict(part.state_dict()) for part in parts])
        return f"a start from earlier weights, {weights.text}"

    def _compare(self, there):
        """Refuse the file of another training."""
        here = self._run
        names = {**here, **there}  # in order
        differing = [name for name in names if there.get(name) != here.get(name)]
        if not differing:
            return
        shown = [
            f"{name} is {there.get(name, 'not set')} there and"
            f" {here.get(name, 'not set')} here"
            for name in differing[:_N_SHOWN]
        ]
        more = len(differing) - len(shown)
        shown += [f"and so are {more} more"] if more else []
        remedies = [_REMEDIES[name] for name in differing if name in _REMEDIES]
        raise ValueError(
            f"{self.path} is the checkpoint of another training:"
            f" {'; '.join(shown)}."
            f" {' '.join([*remedies, _instead(self.path)])}"
        )

    def _load(self, net, state):
        """Put a state into a network."""
        n_done = len(state["history"])
        if n_done > net.max_epochs:
            raise ValueError(
                f"{self.path} has {n_done} epochs, but max_epochs is {net.max_epochs}."
                f" {_instead(self.path)}"
            )
        callbacks = {n: c for n, c in net.callbacks_ if hasattr(c, "state_dict")}
        try:
            load_weights(net.module_, state["module"])
            load_weights(net.criterion_, state["criterion"])
            load_optimizer(net.optimizer_, state["optimizer"])
            check_keys(state["callbacks"], callbacks)
            for name, callback in callbacks.items():
                callback.load_state_dict(state["callbacks"][name])
            _set_generators(state["generators"], net.device)
        except MemoryError:
            raise
        except Exception as error:  # each part has errors of its own
            raise ValueError(
                f"{self.path} does not fit the network, the optimizer or the callbacks"
                f" ({type(error).__name__}: {error}): have their classes changed?"
                f" {_instead(self.path)}"
            ) from error
        net.history.extend(state["history"])
        net.n_resumed_ = net.max_epochs if state["finished"] else n_done


def check_keys(state, expected):
    """Refuse a state of another structure.

    Parameters
    ----------
    state : dict
        From a file.

    expected : iterable of str
        The keys that it must have.

    Raises
    ------
    KeyError
        If it has others.
    """
    if state.keys() != set(expected):
        names = ", ".join(sorted(map(str, state.keys() ^ set(expected)))[:3])
        raise KeyError(f"other entries: {names}")


def load_weights(module, weights):
    """Load the weights of a module that were kept without its layers' versions.

    Parameters
    ----------
    module : Module
        Changed in place; the memory layout of its tensors stays.

    weights : dict
        Its state dict, from a file.

    Raises
    ------
    KeyError
        If it is that of another module.
    """
    # Without the versions, which files do not have, some layers take it for an old one.
    state = module.state_dict()
    check_keys(weights, state)
    state.update(weights)
    module.load_state_dict(state)


def load_optimizer(optimizer, state):
    """Load an optimizer, its tensors in the memory layout of their parameters.

    In another layout they would be visited in another order, and sums round otherwise.

    Parameters
    ----------
    optimizer : Optimizer
        Changed in place.

    state : dict
        Its state dict, from a file.
    """
    optimizer.load_state_dict(state)
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                kept[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _generator_states(device):
    """State of each generator that a training draws from."""
    states = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002
    }
    if torch.device(device).type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_generators(states, device):
    """Bring each generator to a state."""
    torch.set_rng_state(states["torch"])
    random.setstate(states["python"])
    np.random.set_state(check_mersenne_twister(states["numpy"]))  # noqa: NPY002
    if torch.device(device).type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


def _is_training(state):
    """Whether a state has the structure of a training's."""
    if not isinstance(state, dict) or state.keys() != _PARTS.keys():
        return False
    if any(type(state[name]) is not kind for name, kind in _PARTS.items()):
        return False
    told = [*state["run"], *state["run"].values()]
    epochs = [isinstance(e, dict) and e.get("epoch") for e in state["history"]]
    return (
        all(isinstance(text, str) for text in told)
        and state["seed"] >= 0
        and epochs == list(range(1, len(epochs) + 1))
    )


def _describe_beside(net):
    """Tell apart what parts of a network have beside weights and buffers."""
    module = net.module_
    parts = {"backbone": module.backbone, "augment": module.augmentation}
    parts["loss"] = net.criterion_
    return {n: Description(v, learned=False).text for n, v in parts.items()}


def _check_callbacks(callbacks):
    """Refuse callbacks whose state can not be kept."""
    for item in callbacks:
        callback = item[1] if isinstance(item, tuple) else item
        if not (
            hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict")
        ):
            kind = callback if isinstance(callback, type) else type(callback)
            raise ValueError(
                f"callbacks has a {kind.__name__}, whose state checkpoint_dir can not"
                " keep: give it the methods state_dict() and load_state_dict(state), or"
                " leave it or checkpoint_dir out."
            )


@contextlib.contextmanager
def _named_errors(path):
    """Say in errors of the system which parameter is to blame."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"checkpoint_dir={str(path.parent)!r} can not be used"
            f" ({error.strerror or error}): make room there, give leave to write, or"
            " choose another folder",
        ) from error


def _instead(path):
    """Say how to train anew."""
    return f"To train anew, choose another checkpoint_dir or delete {path.name}."
