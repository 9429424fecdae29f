"""Folders and tables of image files, to arrays or lists (layer 0, step 5: no torch)."""

import os
import re
import warnings

import numpy as np
from sklearn.utils import Bunch

from sksiamese._decode import ImageReadError
from sksiamese._image_folders import list_classes
from sksiamese._image_reader import READING, SIZE, ImageReader, make_reading
from sksiamese._reading import read_files
from sksiamese._validation import HasMethods, StrOptions, validate_params

__all__ = ["ImageReadError", "ImageReader", "load_image_folder", "load_image_table"]

_LOADING = {
    "image_size": [None, *SIZE],
    "on_error": [StrOptions({"raise", "skip"})],
    **READING,
}


@validate_params(
    {"path": [str, os.PathLike], "group_pattern": [None, str], **_LOADING},
    prefer_skip_nested_validation=True,
)
def load_image_folder(
    path,
    image_size=None,
    *,
    group_pattern=None,
    on_error="raise",
    mode="auto",
    aspect="stretch",
    value_range=None,
    n_jobs=None,
    cache_dir=None,
    verbose=0,
):
    r"""Load images that lie in one folder per class.

    Folders within a class's folder are searched too. Files whose names end neither in
    ``.png``, ``.jpg``, ``.jpeg``, ``.tif``, ``.tiff``, ``.bmp``, ``.dcm`` nor
    ``.dicom``, and hidden ones, are passed over, with a warning where they are images
    in other formats.

    Read more in the :ref:`User Guide <guide-classify>`.

    Parameters
    ----------
    path : path-like
        Folder with one folder per class; ``~`` is the home folder.

    image_size : int, tuple of int or None, default=None
        Height and width of the images in pixels; an int means both. None reads no
        image: estimators take the ``filenames`` and read them when they need them.

    group_pattern : str or None, default=None
        Regular expression with one group in parentheses, searched in each file's path
        below ``path``: what the parentheses match is the file's group, such as the
        patient. ``r"C(\d+)P"`` reads the patient from ``C100P61ThinF_cell_162.png``.

    on_error : {"raise", "skip"}, default="raise"
        What to do with a file that is missing, broken, too large or of another format:
        stop, or leave it out, warn and list it in ``skipped``.

    mode : {"auto", "grey", "rgb"}, default="auto"
        Channels: ``"auto"`` is grey if every file is and red, green and blue otherwise.

    aspect : {"stretch", "crop", "pad"}, default="stretch"
        How images of another aspect ratio come to ``image_size``: stretched, cut to
        their centre, or padded with black.

    value_range : tuple of float or None, default=None
        ``(black, white)``: values of grey files that become 0 and 255, linearly between
        and clipped beyond; for DICOM after its rescaling, for example Hounsfield units.
        None takes the whole range of 8- and 16-bit files, and for DICOM the window
        stored in the file or, without one, the extremes of the image.

    n_jobs : int or None, default=None
        Threads that decode files, as in scikit-learn; -1 takes all processors.

    cache_dir : path-like or None, default=None
        Folder in which decoded pixels are kept for the next call; the images are then a
        read-only memory map. None holds them in memory. A file that was changed, by its
        size or time, is decoded again. Fewer than 32 files are not kept. Delete the
        folder to free the space.

    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the attributes:

        images : uint8 ndarray of shape (n, height, width) or (n, height, width, 3)
            Pixels; None if ``image_size`` is.

        target : int64 ndarray of shape (n,)
            Class of each image, an index into ``target_names``.

        target_names : ndarray of str
            Names of the folders.

        groups : ndarray of shape (n,) or None
            Group of each image, if asked for.

        filenames : ndarray of str of shape (n,)
            Path of each file.

        skipped : list of ImageReadError
            Files left out, each with its ``filename`` and ``reason``.

    Raises
    ------
    ImageReadError
        If a file cannot be read and ``on_error="raise"``.

    ValueError
        If there are no folders, they are the parts of a split, such as ``train`` and
        ``test``, one has no image, or ``group_pattern`` does not match.

    See Also
    --------
    load_image_table : Images, labels and groups that a table lists.
    ImageReader : Read files as a step of a pipeline.
    sksiamese.pairs.hold_out : Set images, or whole groups, apart.

    Notes
    -----
    The orientation that a camera stored (EXIF) is applied. Images are averaged, not
    sampled, when they shrink; JPEG files are decoded at a fraction of their size where
    that suffices. 16-bit values lose their last 8 bits. Transparency is ignored.
    Files of more pixels than ``PIL.Image.MAX_IMAGE_PIXELS`` are refused, since they may
    be made to fill the memory. DICOM needs the extra ``sksiamese[dicom]``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> from sksiamese.images import load_image_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("benign", "melanoma"):
    ...         (Path(folder) / name).mkdir()
    ...         pixels = np.zeros((450, 600, 3), np.uint8)
    ...         Image.fromarray(pixels).save(Path(folder) / name / "a.jpg")
    ...     data = load_image_folder(folder, image_size=64)
    >>> data.images.shape, data.target, data.target_names.tolist()
    ((2, 64, 64, 3), array([0, 1]), ['benign', 'melanoma'])
    """
    path, names, labels = list_classes(path)
    groups = None
    if group_pattern is not None:
        groups = _match_groups(group_pattern, names, path)
    reading = make_reading(
        image_size, mode, aspect, value_range, n_jobs, cache_dir, verbose
    )
    target_names, target = np.unique(labels, return_inverse=True)
    return _load(names, target, target_names, groups, reading, on_error)


@validate_params(
    {
        "table": [str, os.PathLike, HasMethods(["isna", "to_numpy"])],
        "image_column": [str],
        "label_column": [str, list, tuple],
        "group_column": [None, str],
        "root": [None, str, os.PathLike],
        "suffix": [str],
        **_LOADING,
    },
    prefer_skip_nested_validation=True,
)
def load_image_table(
    table,
    image_size=None,
    *,
    image_column,
    label_column,
    group_column=None,
    root=None,
    suffix="",
    on_error="raise",
    mode="auto",
    aspect="stretch",
    value_range=None,
    n_jobs=None,
    cache_dir=None,
    verbose=0,
):
    """Load images that a table lists with their labels, and patients if it has them.

    Challenges and hospitals hand labels out in this form. Images come in the order of
    the rows, and files that no row names are not read.

    Read more in the :ref:`User Guide <guide-groups>`.

    Parameters
    ----------
    table : path-like or DataFrame
        Table, or a CSV file with a header line.

    image_size : int, tuple of int or None, default=None
        Height and width of the images in pixels; an int means both. None reads no
        image: estimators take the ``filenames`` and read them when they need them.

    image_column : str
        Column of file names, with or without folders.

    label_column : str or list of str
        Column of labels; or several columns of 0 and 1, one for each class, of which
        each row has a single 1, as in the ground truth of the ISIC 2018 challenge.

    group_column : str or None, default=None
        Column of what must not be divided between training and test, such as patients.

    root : path-like or None, default=None
        Folder that the file names are relative to. None is the folder of the CSV file,
        or the working directory for a DataFrame.

    suffix : str, default=""
        What to append to the names, for example ``".jpg"``.

    on_error : {"raise", "skip"}, default="raise"
        What to do with a file that is missing, broken, too large or of another format:
        stop, or leave it out, warn and list it in ``skipped``.

    mode : {"auto", "grey", "rgb"}, default="auto"
        Channels: ``"auto"`` is grey if every file is and red, green and blue otherwise.

    aspect : {"stretch", "crop", "pad"}, default="stretch"
        How images of another aspect ratio come to ``image_size``: stretched, cut to
        their centre, or padded with black.

    value_range : tuple of float or None, default=None
        ``(black, white)``: values of grey files that become 0 and 255, see
        :func:`load_image_folder`.

    n_jobs : int or None, default=None
        Threads that decode files, as in scikit-learn; -1 takes all processors.

    cache_dir : path-like or None, default=None
        Folder in which decoded pixels are kept for the next call, see
        :func:`load_image_folder`.

    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        As :func:`load_image_folder` returns it; ``target_names`` are the sorted labels,
        or the names of the columns.

    Raises
    ------
    ImageReadError
        If a file cannot be read and ``on_error="raise"``.

    ValueError
        If a column is missing or has empty cells, or rows have no single class.

    See Also
    --------
    load_image_folder : Images that lie in one folder per class.
    ImageReader : Read files as a step of a pipeline.
    sksiamese.pairs.hold_out : Set images, or whole groups, apart.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from PIL import Image
    >>> from sksiamese.images import load_image_table
    >>> table = pd.DataFrame(
    ...     {"scan": ["a", "b"], "finding": ["none", "effusion"], "patient": [7, 7]}
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in table["scan"]:
    ...         Image.new("L", (640, 480)).save(f"{folder}/{name}.png")
    ...     data = load_image_table(
    ...         table,
    ...         image_size=(48, 64),
    ...         image_column="scan",
    ...         label_column="finding",
    ...         group_column="patient",
    ...         root=folder,
    ...         suffix=".png",
    ...     )
    >>> data.images.shape, data.target_names[data.target].tolist(), data.groups
    ((2, 48, 64), ['none', 'effusion'], array([7, 7]))

    The ground truth of the ISIC 2020 challenge names 33,126 files without suffix::

        data = load_image_table(
            "ISIC_2020_Training_GroundTruth.csv",
            image_size=128,
            image_column="image_name",
            label_column="benign_malignant",
            group_column="patient_id",
            root="train",
            suffix=".jpg",
            n_jobs=-1,
            cache_dir="isic_cache",
        )
        SiameseClassifier().fit(data.images, data.target, groups=data.groups)
    """
    import pandas as pd

    if isinstance(table, (str, os.PathLike)):
        root = os.path.dirname(os.path.abspath(table)) if root is None else root
        ids = [c for c in (image_column, group_column) if c is not None]
        table = pd.read_csv(table, dtype=dict.fromkeys(ids, str))
    columns = [label_column] if isinstance(label_column, str) else list(label_column)
    _check_columns(table, [image_column, *columns], group_column)
    names = [
        os.path.join(os.fspath(root or ""), str(name) + suffix)
        for name in table[image_column]
    ]
    if isinstance(label_column, str):
        labels = table[label_column].to_numpy()
        if len({isinstance(label, str) for label in labels.tolist()}) > 1:
            raise ValueError(
                f"Column {label_column!r} mixes text and numbers: give all classes"
                " names, or all of them numbers."
            )
        target_names, target = np.unique(labels, return_inverse=True)
    else:
        target_names, target = columns, _decode_one_hot(table[columns])
    groups = None if group_column is None else table[group_column].to_numpy()
    reading = make_reading(
        image_size, mode, aspect, value_range, n_jobs, cache_dir, verbose
    )
    return _load(names, target, target_names, groups, reading, on_error)


# --- parts ----------------------------------------------------------------------------


def _match_groups(pattern, names, path):
    """Read the group of each file from its name."""
    compiled = re.compile(pattern)
    if compiled.groups != 1:
        raise ValueError(
            f"group_pattern={pattern!r} has {compiled.groups} groups in parentheses:"
            " one is needed, and what it matches names the group."
        )
    matches = [compiled.search(os.path.relpath(name, path)) for name in names]
    found = [match[1] if match else None for match in matches]
    missed = [name for name, group in zip(names, found, strict=True) if not group]
    if missed:
        raise ValueError(
            f"group_pattern={pattern!r} finds no group in {len(missed)} of"
            f" {len(names)} names, such as {missed[0]}."
        )
    return np.array(found)


def _check_columns(table, columns, group_column):
    """Check that columns are there and filled."""
    for column in columns + [group_column] * (group_column is not None):
        if column not in table.columns:
            raise ValueError(
                f"The table has no column {column!r}, only {list(table.columns)}."
            )
        empty = np.flatnonzero(table[column].isna())
        if len(empty):
            advice = "drop these rows"
            if column == group_column:
                advice = "give each image of an unknown group one of its own"
            raise ValueError(
                f"Column {column!r} is empty in {len(empty)} of {len(table)} rows, such"
                f" as row {empty[0]}: {advice}."
            )
    if not len(table):
        raise ValueError("The table has no rows.")


def _decode_one_hot(table):
    """Position of the only column that is 1 in each row."""
    values = table.to_numpy()
    good = np.isin(values, (0, 1)).all(axis=1) & (values.astype(float).sum(axis=1) == 1)
    if not good.all():
        raise ValueError(
            f"Row {np.flatnonzero(~good)[0]} of the columns {list(table.columns)} is no"
            " single 1 among zeros, so it has no single class."
        )
    return values.argmax(axis=1)


def _load(names, target, target_names, groups, reading, on_error):
    """Read files and put what belongs to them beside them."""
    images, failures = None, {}
    if reading is not None:
        try:
            images, failures = read_files(names, reading, skip=on_error == "skip")
        except ImageReadError as error:
            advice = 'on_error="skip" leaves such files out.'
            raise ImageReadError(error.filename, f"{error.reason}; {advice}") from error
    kept = np.array([name not in failures for name in names])
    if failures:
        some = "; ".join(map(str, list(failures.values())[:5]))
        warnings.warn(
            f"Skipped {(~kept).sum()} of {len(names)} images, listed in skipped: {some}"
            + "; ..." * (len(failures) > 5),
            UserWarning,
            stacklevel=4,
        )
    return Bunch(
        images=images,
        target=np.asarray(target, dtype=np.int64)[kept],
        target_names=np.asarray(target_names),
        groups=None if groups is None else np.asarray(groups)[kept],
        filenames=np.array(names)[kept],
        skipped=list(failures.values()),
    )
