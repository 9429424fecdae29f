"""Values, arrays and tensors in one file that nothing is run from (layer 1).

Dicts, lists and plain values become JSON, arrays ``.npy`` members, tensors one
safetensors member; :mod:`sksiamese._archive` is the file around them. Reading makes
objects of the types that ``write_state`` lists, and no others.
"""

import base64
import json
import math

import numpy as np
import torch

from sksiamese._archive import ArchiveReader, ArchiveWriter

_STATE, _TENSORS = "state.json", "tensors.safetensors"
# As JSON has them. The other types are written as an object whose one key tells them.
_PLAIN = (type(None), bool, int, float, str)
_KINDS = "biufcmMSU"  # of arrays
_TENSOR_TYPES = {
    torch.bool,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
}


def write_state(path, kind, state):
    """Write a tree of values to a file: all of it, or nothing.

    Parameters
    ----------
    path : path-like
        File to write. What it held is replaced in one step, when all is on the disk.

    kind : {"model", "checkpoint"}
        What the file is, and what a reader must ask for.

    state : object
        Dicts, lists and tuples of None, bool, int, float, str, bytes, NumPy scalars,
        types and arrays (with objects of the plain types at most) and dense tensors.

    Raises
    ------
    TypeError
        If there is anything else in it; the message names the place. No file is
        touched then.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from sksiamese._state_file import read_state, write_state
    >>> path = os.path.join(tempfile.mkdtemp(), "x.model")
    >>> write_state(path, "model", {"classes": np.arange(3), 1: (2.5, None)})
    >>> read_state(path, "model")
    {'classes': array([0, 1, 2]), 1: (2.5, None)}
    """
    encoder = _Encoder()
    text = json.dumps(encoder.encode(state, "state"))
    from safetensors.torch import save

    tensors = save(encoder.tensors)
    with ArchiveWriter(path, kind) as archive:
        archive.text(_STATE, text)
        for name, array in encoder.arrays.items():
            archive.array(name, array)
        with archive.stream(_TENSORS) as stream:
            stream.write(tensors)


def read_state(path, kind):
    """Read what :func:`write_state` has written.

    Parameters
    ----------
    path : path-like
        File to read.

    kind : {"model", "checkpoint"}
        What it has to be.

    Returns
    -------
    object
        The state, equal in value and type to what was written; tensors are on the CPU.

    Raises
    ------
    FileNotFoundError
        If there is no such file.

    ValueError
        If it is another kind of file, truncated, changed or of a newer version.
    """
    from safetensors.torch import load

    with ArchiveReader(path, kind) as archive:
        text, stream = archive.text(_STATE), archive.stream(_TENSORS)
        try:
            tensors = load(stream.read())
            return _Decoder(archive, tensors).decode(json.loads(text))
        except MemoryError:
            raise
        except Exception as error:  # each part has errors of its own
            raise archive.broken(f"{type(error).__name__} in its state: {error}") from (
                error
            )


class _Encoder:
    """Makes JSON of values, and lists of what has to lie beside it."""

    def __init__(self):
        self.arrays, self.tensors = {}, {}

    def encode(self, value, place):
        """Encode a value; ``place`` tells where it is."""
        if type(value) in _PLAIN:
            return value
        if type(value) is list:
            return [self.encode(v, f"{place}[{i}]") for i, v in enumerate(value)]
        if type(value) is tuple:
            parts = [self.encode(v, f"{place}[{i}]") for i, v in enumerate(value)]
            return {"tuple": parts}
        if isinstance(value, dict):
            return {"dict": [self._item(k, v, place) for k, v in value.items()]}
        return self._leaf(value, place)

    def _leaf(self, value, place):
        """Encode a value that has no parts."""
        if type(value) in (bytes, np.bytes_):
            return {type(value).__name__: base64.b64encode(value).decode()}
        if type(value) is np.str_:
            return {"str_": "".join(value)}  # str drops trailing NULs
        if isinstance(value, np.generic) and value.dtype.kind in "biufcmM":
            return {"scalar": self._keep(self.arrays, np.asarray(value))}
        if isinstance(value, np.dtype) and value.kind in _KINDS:
            return {"dtype": value.str}
        if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
            return self._array(np.asarray(value), place)
        if isinstance(value, torch.Tensor):
            return self._tensor(value.detach(), place)
        raise TypeError(f"{place} is {_describe(value)}, which can not be saved.")

    def _item(self, key, value, place):
        """Encode one item of a dict."""
        where = f"{place}[{key!r}]"
        if type(key) not in _PLAIN and not isinstance(key, np.generic):
            raise TypeError(f"{place} has a key {_describe(key)}: it can not be saved.")
        return [self.encode(key, where), self.encode(value, where)]

    def _array(self, array, place):
        """Encode an array."""
        if array.dtype.kind in _KINDS:
            return {"array": self._keep(self.arrays, array)}
        values = array.ravel().tolist()
        simple = all(isinstance(v, (*_PLAIN, np.generic)) for v in values)
        if array.dtype != object or not simple:
            raise TypeError(
                f"{place} is an array of {array.dtype} with more than numbers, strings"
                " and None, which can not be saved."
            )
        return {"objects": [list(array.shape), [self.encode(v, place) for v in values]]}

    def _tensor(self, tensor, place):
        """Encode a tensor."""
        if tensor.layout != torch.strided or tensor.dtype not in _TENSOR_TYPES:
            raise TypeError(
                f"{place} is a tensor of {tensor.layout} and {tensor.dtype}, which can"
                " not be saved."
            )
        # A copy: safetensors refuses tensors that share memory.
        alone = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)
        return {"tensor": self._keep(self.tensors, alone)}

    @staticmethod
    def _keep(parts, part):
        """Put a part beside the JSON; return its name."""
        name = f"{len(parts)}"
        parts[name] = part
        return name


class _Decoder:
    """Makes values of JSON and of what lies beside it."""

    def __init__(self, archive, tensors):
        self._archive, self._tensors = archive, tensors
        self._done = set()

    def decode(self, code):
        """Decode a value."""
        if isinstance(code, list):
            return [self.decode(c) for c in code]
        if not isinstance(code, dict):
            return code
        [(kind, content)] = code.items()
        if kind not in _DECODE:
            raise ValueError(f"unknown type {kind!r}")
        return _DECODE[kind](self, content)

    def _read(self, name):
        """Read an array, once: one that is named often would fill the memory."""
        if name in self._done:
            raise ValueError(f"the array {name!r} is in two places")
        self._done.add(name)
        return self._archive.array(name)

    def _dict(self, items):
        return {self.decode(key): self.decode(value) for key, value in items}

    def _objects(self, content):
        shape, values = content
        values = [self.decode(v) for v in values]
        plain = all(isinstance(v, (*_PLAIN, np.generic)) for v in values)
        if math.prod(shape) != len(values) or not plain:
            raise ValueError("an array of another shape than its values")
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array.reshape(shape)


_DECODE = {
    "tuple": lambda self, content: tuple([self.decode(c) for c in content]),
    "dict": _Decoder._dict,
    "bytes": lambda self, content: base64.b64decode(content, validate=True),
    "bytes_": lambda self, content: np.bytes_(base64.b64decode(content, validate=True)),
    "str_": lambda self, content: np.str_(content),
    "dtype": lambda self, content: np.dtype(str(content)),
    "scalar": lambda self, content: self._read(content)[()],
    "array": _Decoder._read,
    "objects": _Decoder._objects,
    "tensor": lambda self, content: self._tensors.pop(content),
}


def check_mersenne_twister(state):
    """Check a state before NumPy takes it, which would read beyond its end.

    Parameters
    ----------
    state : tuple
        What ``numpy.random.RandomState.get_state`` gives.

    Returns
    -------
    tuple
        The same.

    Raises
    ------
    ValueError
        If it is none.
    """
    name, keys, at, has_gauss, gauss = state
    if (
        name != "MT19937"
        or type(at) is not int
        or not 0 <= at <= 624
        or np.shape(keys) != (624,)
        or np.asarray(keys).dtype != np.uint32
        or has_gauss not in (0, 1)
        or type(gauss) is not float
    ):
        raise ValueError("a generator's state that is none")
    return state


def _describe(value):
    """Say what a value is, in few words."""
    text = repr(value)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return f"{text} of {type(value).__module__}.{type(value).__qualname__}"
