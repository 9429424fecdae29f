"""Public sets of images, from a folder or the network (layer 0, step 2).

NumPy and scikit-learn only; torchvision and medmnist are loaded for downloads.
"""

import contextlib
import http.client
import os
import socket
import tempfile
import textwrap
import zipfile
import zlib
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from sksiamese._registry import MEDMNIST, SETS

__all__ = ["fetch_images"]

# Seconds to wait for the next bytes of a download.
_TIMEOUT = 60
_KINDS = {"uint8": np.uint8, "integer": np.integer, "str": np.str_}


def fetch_images(name, *, data_home=None, download=True):
    """Load a public set of images, and download it first where that is possible.

    MNIST, Omniglot and the two-dimensional sets of MedMNIST are downloaded once and
    kept in a folder of the user. For the other sets the error tells what to get, from
    whom, and how to save it.

    Parameters
    ----------
    name : str
        Name of the set: ``"mnist"``, ``"omniglot"``, ``"malaria_cells"``,
        ``"ham10000"``, ``"brain_mri"``, ``"cats_dogs"``, or of MedMNIST, in 28 x 28
        pixels, ``"pathmnist"``, ``"chestmnist"``, ``"dermamnist"``, ``"octmnist"``,
        ``"pneumoniamnist"``, ``"retinamnist"``, ``"breastmnist"``, ``"bloodmnist"``,
        ``"tissuemnist"``, ``"organamnist"``, ``"organcmnist"`` or ``"organsmnist"``.

    data_home : str, path-like or None, default=None
        Folder to read from and to download to. ``None`` reads from the folder that the
        environment variable ``SKSIAMESE_DATA`` names, which is never written to, then
        from ``~/sksiamese_data``, and downloads to the latter.

    download : bool, default=True
        Whether to download what is not there. Sets of MedMNIST need the package
        medmnist for it: ``pip install "sksiamese[datasets]"``.

    Returns
    -------
    sklearn.utils.Bunch
        Dictionary-like object, whose rows run through all official splits.

        images : uint8 ndarray of shape (n, height, width) or (n, height, width, 3)
            Images. Those of Omniglot are 32,460 of 105 x 105 pixels: 358 MB.
        target : int64 ndarray of shape (n,)
            Class of each image, an index into ``target_names``. Of ``"chestmnist"``,
            where an image may show several findings or none, 0 or 1 for each of them,
            ``(n, 14)``.
        target_names : str ndarray of shape (n_classes,)
            Names of the classes.
        groups : int64 ndarray of shape (n,) or None
            What must not be divided between training and test images, where the set
            tells it: the patient of ``"malaria_cells"``, the lesion of ``"ham10000"``,
            the alphabet of ``"omniglot"``.
        split : str ndarray of shape (n,) or None
            Official split of each image: ``"train"``, ``"val"``, ``"test"``, or
            ``"background"``, ``"evaluation"`` of Omniglot. None where there is none.
        DESCR : str
            Description: source, paper, licence, number of images, known defects.

        Further fields, one row an image, are ``alphabet``, ``character_in_alphabet``
        and ``drawer`` of Omniglot (beside its ``alphabet_names``), ``patient`` and
        ``cell_name`` of the malaria cells, ``malignant``, ``lesion_id``, ``image_id``
        and ``dx_type`` of HAM10000, ``names`` (of files) of the brain images, and
        ``number`` (in the file's name) of the cats and dogs.

    Raises
    ------
    FileNotFoundError
        If the set is not there and cannot or must not be downloaded, or the download
        fails. The message tells how to get and save it by hand.

    ImportError
        If a set of MedMNIST is to be downloaded without the package medmnist.

    ValueError
        If ``name`` is unknown, or a file cannot be read or is not of the set's form.

    See Also
    --------
    sksiamese.images.load_image_folder : Your own images, one folder a class.
    sksiamese.images.load_image_table : Your own images, by a table of files.
    sklearn.datasets.load_digits : 1,797 digits of 8 x 8 pixels, always there.

    Examples
    --------
    ``fetch_images("pneumoniamnist")`` downloads the set, or reads it where it is. Here
    a file of the same form, as you would save it by hand, stands in for it.

    >>> import tempfile
    >>> import numpy as np
    >>> from sksiamese.datasets import fetch_images
    >>> arrays = {}
    >>> for split in ("train", "val", "test"):
    ...     arrays[f"{split}_images"] = np.zeros((3, 28, 28), dtype=np.uint8)
    ...     arrays[f"{split}_labels"] = np.array([[0], [1], [1]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/pneumoniamnist.npz", **arrays)
    ...     data = fetch_images("pneumoniamnist", data_home=folder)
    >>> train = data.split == "train"
    >>> X, y = data.images[train], data.target[train]
    >>> X.shape, data.target_names[y].tolist()
    ((3, 28, 28), ['normal', 'pneumonia', 'pneumonia'])

    Of a set that cannot be downloaded, the error says what to get and how to save it.

    >>> with tempfile.TemporaryDirectory() as empty:
    ...     fetch_images("cats_dogs", data_home=empty)
    Traceback (most recent call last):
    FileNotFoundError: There is no cats_dogs_64_gray.npz in ...
    """
    if not isinstance(name, str) or name not in SETS:
        raise ValueError(f"name must be one of {', '.join(SETS)}, got {name!r}.")
    spec, folders = SETS[name], _folders(data_home)
    for folder in folders:
        path = folder / spec.file
        if path.exists():
            return _read(spec, path)
    cache = folders[-1]
    if download and name in _SAVERS:
        return _download(spec, cache, _SAVERS[name])
    why = f"There is no {spec.file} in {' or '.join(map(str, folders))}."
    if name in _SAVERS:
        why += " download=True would fetch it."
    raise FileNotFoundError(f"{why} {_by_hand(spec, cache)}")


def _folders(data_home):
    """Folders to look in; the last one is the cache that downloads go to."""
    if data_home is not None:
        return [Path(data_home).expanduser()]
    shared = os.environ.get("SKSIAMESE_DATA")
    folders = [Path(shared)] if shared else []
    return [f.expanduser() for f in (*folders, Path("~/sksiamese_data"))]


@contextlib.contextmanager
def _patience(seconds):
    """Give up on servers that say nothing; torchvision's downloads set no limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _download(spec, cache, save):
    """Fetch a set into the cache, whole or not at all, and read it."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Saved and checked beside its place and then moved there, which is atomic in
        # one file system: what is interrupted leaves nothing half-written, and others
        # who fetch the same at the same time see a whole file or none.
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=cache) as work:
            path = Path(work, spec.file)
            with _patience(_TIMEOUT):
                save(path)
            data = _read(spec, path)
            path.replace(cache / spec.file)
    except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
        raise FileNotFoundError(
            f"{spec.title} could not be downloaded to data_home={str(cache)!r}:"
            f" {str(error).strip()}\nTry again, or do it by hand."
            f" {_by_hand(spec, cache)}"
        ) from error
    return data


def _save_mnist(path):
    """Download MNIST with torchvision, which compares checksums."""
    from torchvision.datasets import MNIST

    arrays = {}
    for split in SETS["mnist"].splits:
        part = MNIST(path.parent, train=split == "train", download=True)
        arrays[f"{split}_images"] = part.data.numpy()
        arrays[f"{split}_labels"] = part.targets.numpy().astype(np.uint8)
    np.savez_compressed(path, **arrays)


def _save_omniglot(path):
    """Download Omniglot with torchvision, which compares checksums."""
    from torchvision.datasets import Omniglot

    arrays = {}
    for split in SETS["omniglot"].splits:
        background = split == "background"
        folder = Omniglot(path.parent, background, download=True).target_folder
        # alphabet/characterNN/number_drawer.png; the numbers run through both splits.
        files = sorted(Path(folder).glob("*/*/*.png"), key=lambda file: file.name)
        numbers = [int(file.stem.split("_")[0]) for file in files]
        alphabets = [file.parts[-3] for file in files]
        names = list(dict.fromkeys(alphabets))
        columns = {
            "packed": [_pack(file) for file in files],
            "character": np.unique(numbers, return_inverse=True)[1].astype(np.int16),
            "alphabet": np.int16([names.index(alphabet) for alphabet in alphabets]),
            "character_in_alphabet": np.int16([int(f.parts[-2][-2:]) for f in files]),
            "drawer": np.int16([int(file.stem.split("_")[1]) - 1 for file in files]),
            "alphabet_names": names,
        }
        arrays |= {f"{split}_{key}": column for key, column in columns.items()}
    np.savez_compressed(path, **arrays)


def _pack(file):
    """Bits of a drawing, 1 for ink."""
    from PIL import Image

    with Image.open(file) as image:
        return np.packbits(np.asarray(image.convert("L")) == 0)


def _save_medmnist(path):
    """Download a set of MedMNIST from the address that medmnist knows."""
    try:
        import medmnist
    except ImportError as error:
        raise ImportError(
            f"{path.stem} is downloaded with the help of the package medmnist, which is"
            f' missing: pip install "sksiamese[datasets]", or put the {path.name} of'
            " https://medmnist.com into the folder data_home."
        ) from error
    from torchvision.datasets.utils import download_url

    # Not by medmnist's own classes: those hide the reason when a download fails, and
    # take an interrupt by the user for a failure (3.0).
    facts = medmnist.INFO[path.stem]
    download_url(facts["url"], path.parent, filename=path.name, md5=facts["MD5"])


_SAVERS = {
    "mnist": _save_mnist,
    "omniglot": _save_omniglot,
    **dict.fromkeys(MEDMNIST, _save_medmnist),
}


def _read(spec, path):
    """Read a set from its file."""
    try:
        with open(path, "rb") as file:
            # Anything else NumPy takes for a pickle, and its error says so.
            if not zipfile.is_zipfile(file):
                raise ValueError("it is no npz archive, or not all of one")
        with np.load(path, allow_pickle=False) as arrays:
            columns = _read_columns(spec, arrays)
            names = _number_classes(spec, columns, arrays)
    except (
        ValueError,
        RuntimeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"{path} does not hold {spec.title}: {error}.\nRemove the file, or replace"
            f" it by one with the arrays {_arrays(spec)}."
        ) from error
    return _bunch(spec, columns, names)


def _form(spec):
    """Arrays of a file: split and column, then name, kind, and shape of a row."""
    shape = spec.image_shape
    bits = (-(-shape[0] * shape[1] // 8),)
    pixels = ("packed", "uint8", bits) if spec.packed else ("images", "uint8", shape)
    labels = "character" if spec.packed else "labels"
    columns = {
        "images": pixels,
        "target": (labels, "integer", (len(spec.classes),) * spec.multi_label),
        **{name: (name, kind, ()) for name, kind in spec.fields.items()},
    }
    for split in spec.splits or (None,):
        for column, (name, kind, row) in columns.items():
            yield split, column, f"{split}_{name}" if split else name, kind, row


def _read_columns(spec, arrays):
    """Arrays of each column, one for each split, checked."""
    columns, length = {}, {}
    for split, column, name, kind, row in _form(spec):
        array = _get(arrays, name, kind)
        if column == "target" and not row and array.shape[1:] == (1,):
            array = array[:, 0]  # as MedMNIST has it
        n = length.setdefault(split, len(array) if array.ndim else 0)
        if array.shape != (n, *row) or n == 0:
            wanted = str((n or "n", *row)).replace("'", "")
            raise ValueError(f"its {name} has shape {array.shape}, not {wanted}")
        if kind == "integer":
            array = array.astype(np.int64)
        columns.setdefault(column, []).append(array)
    return columns


def _get(arrays, name, kind):
    """Read one array of a file."""
    if name not in arrays:
        raise ValueError(f"it has no array {name}")
    array = arrays[name]
    if not np.issubdtype(array.dtype, _KINDS[kind]):
        raise ValueError(f"its {name} is of type {array.dtype}, not {kind}")
    return array


def _number_classes(spec, columns, arrays):
    """Check the labels, make them run through all splits, and name the classes."""
    if spec.packed:
        return _number_characters(spec, columns, arrays)
    if "class_names" in arrays:  # the files of MedMNIST have none
        stated = _get(arrays, "class_names", "str").tolist()
        if stated != list(spec.classes):
            raise ValueError(f"its class_names are {stated}, not {list(spec.classes)}")
    n_labels = 2 if spec.multi_label else len(spec.classes)
    _check_range(columns["target"], n_labels, "labels")
    return {"target_names": np.array(spec.classes)}


def _number_characters(spec, columns, arrays):
    """Make alphabets and characters of Omniglot count through both splits."""
    names = [_get(arrays, f"{s}_alphabet_names", "str") for s in spec.splits]
    for codes, known in zip(columns["alphabet"], names, strict=True):
        _check_range([codes], len(known), "alphabet")
    for codes in columns["target"]:
        _check_range([codes], len(np.unique(codes)), "character")
    columns["alphabet"][1] += len(names[0])
    columns["target"][1] += columns["target"][0].max() + 1
    names = np.concatenate(names)
    first = np.unique(np.concatenate(columns["target"]), return_index=True)[1]
    alphabet = names[np.concatenate(columns["alphabet"])[first]]
    number = np.concatenate(columns["character_in_alphabet"])[first]
    characters = [
        f"{a}/character{n:02d}" for a, n in zip(alphabet, number, strict=True)
    ]
    return {"target_names": np.array(characters), "alphabet_names": names}


def _check_range(parts, n_labels, name):
    """Refuse indices that point at nothing."""
    low, high = min(p.min() for p in parts), max(p.max() for p in parts)
    if low < 0 or high >= n_labels:
        raise ValueError(
            f"its {name} run from {low} to {high}, where 0 to {n_labels - 1} are known"
        )


def _bunch(spec, columns, names):
    """Join the splits."""
    split = None
    if spec.splits:
        split = np.repeat(spec.splits, [len(part) for part in columns["target"]])
    joined = {
        column: parts[0] if len(parts) == 1 else np.concatenate(parts)
        for column, parts in columns.items()
    }
    if spec.packed:
        joined["images"] = _unpack(joined["images"], spec.image_shape)
    data = Bunch(**joined, **names, split=split, groups=None)
    if spec.groups:
        data.groups = data[spec.groups]
        if data.groups.dtype.kind == "U":
            data.groups = np.unique(data.groups, return_inverse=True)[1]
    data.DESCR = _describe(spec, data)
    return data


def _unpack(packed, shape):
    """Images of bits that are 1 for ink: 0 where there is ink, 255 elsewhere."""
    images = np.unpackbits(packed, axis=1, count=shape[0] * shape[1])
    images -= 1  # in place, for the images take 358 MB; 0 - 1 is 255 in uint8
    return images.reshape(-1, *shape)


def _describe(spec, data):
    """Text of ``DESCR``."""
    size = " x ".join(map(str, spec.image_shape))
    lines = [spec.about, f"{len(data.images):,} images of {size}, uint8."]
    for split in spec.splits or (None,):
        target = data.target if split is None else data.target[data.split == split]
        if spec.multi_label:
            counts = target.sum(axis=0)
        else:
            counts = np.bincount(target, minlength=len(spec.classes))
        shown = f"{np.count_nonzero(counts)} classes"
        if spec.classes:
            pairs = zip(spec.classes, counts, strict=True)
            shown = "; ".join(f"{name}: {count:,}" for name, count in pairs)
        lines.append(f"{split or 'All'} ({len(target):,} images): {shown}.")
    if spec.multi_label:
        lines.append("target has a column for each class, of 0 or 1.")
    lines += [f"What to know: {spec.remarks}", f"Paper: {spec.paper}."]
    lines += [f"Licence: {spec.licence}.", f"Source: {spec.page}"]
    wrap = textwrap.TextWrapper(80, break_long_words=False, break_on_hyphens=False)
    return "\n".join([spec.title, "-" * len(spec.title), *map(wrap.fill, lines), ""])


def _by_hand(spec, cache):
    """How to get a set without the network of this machine."""
    return (
        f"Get {spec.title} from {spec.page} (licence: {spec.licence}) and save it as"
        f" {cache / spec.file}, or in another folder that data_home names, by"
        f" numpy.savez_compressed with the arrays {_arrays(spec)}."
    )


def _arrays(spec):
    """Form of a file, in words."""
    shown = []
    for _, _, name, kind, row in _form(spec):
        shape = str(("n", *row)).replace("'", "")
        shown.append(f"{name} ({kind}, {shape})")
    text = ", ".join(shown)
    if spec.packed:
        names = " and ".join(f"{split}_alphabet_names (str)" for split in spec.splits)
        return (
            f"{text}, {names}; packed is numpy.packbits of an image's pixels, 1 for"
            " ink, and characters, alphabets and drawers count from 0 in each split"
        )
    meaning = "columns of 0 or 1 for" if spec.multi_label else "indices into"
    return f"{text}; labels are {meaning} {', '.join(spec.classes)}"
