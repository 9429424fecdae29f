"""Layer 0, step 4: the files of a folder with one folder for each class."""

import os
import warnings
from collections import Counter

from sksiamese._decode import SUFFIXES

# Pictures to their owners, but of formats that are not read.
UNREAD = (".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".nii", ".webp")
PARTS = {"test", "testing", "train", "training", "val", "valid", "validation"}


def list_classes(path):
    """List the images below a folder by the folder of their class.

    Parameters
    ----------
    path : path-like
        Folder with one folder per class; ``~`` is the home folder.

    Returns
    -------
    path : str
        The folder that was searched.

    names : list of str
        Paths of the files, class by class and in order.

    labels : list of str
        Folder of each file's class.

    Raises
    ------
    ValueError
        If there are no folders, they are parts of a split, or one has no image.

    Warns
    -----
    UserWarning
        If there are images of formats that are not read.
    """
    path = os.path.expanduser(os.fspath(path))
    if not os.path.isdir(path):
        raise ValueError(f"path={path!r} ({os.path.abspath(path)}) is not a folder.")
    folders = sorted(
        entry.name
        for entry in os.scandir(path)
        if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))
    )
    _check_folders(path, folders)
    names, labels, unread = [], [], Counter()
    for label in folders:
        files = list_images(os.path.join(path, label), unread)
        if not files:
            raise ValueError(
                f"The folder {os.path.join(path, label)} has no image"
                f" ({', '.join(SUFFIXES)}): remove it, or point path at a folder"
                " with one folder of images per class."
            )
        names += files
        labels += [label] * len(files)
    if unread:
        counts = ", ".join(f"{n} {suffix}" for suffix, n in sorted(unread.items()))
        warnings.warn(
            f"Passed over {counts} below path={path!r}, whose formats are not read:"
            f" convert them to one of {', '.join(SUFFIXES)}, or remove them.",
            UserWarning,
            stacklevel=4,
        )
    return path, names, labels


def _check_folders(path, folders):
    """Refuse folders that can not be those of classes."""
    if not folders:
        raise ValueError(
            f"path={path!r} holds no folders: one per class is needed. Images of"
            " unknown classes need no loader: estimators fitted on file names, and"
            " ImageReader, take their names."
        )
    if len(folders) > 1 and PARTS.issuperset(name.lower() for name in folders):
        raise ValueError(
            f"path={path!r} holds the parts of a split, {', '.join(folders)}, and not"
            f" classes: load each part, such as"
            f" path={os.path.join(path, folders[-1])!r}."
        )


def list_images(folder, unread):
    """List the images below a folder, and count those of formats that are not read.

    Parameters
    ----------
    folder : str
        Folder, which is searched with all that are in it.

    unread : Counter
        Counts by suffix, to which those of this folder are added.

    Returns
    -------
    list of str
        Paths, in order. Hidden files and folders are passed over.
    """
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(files):
            if name.startswith("."):
                continue
            if name.lower().endswith(SUFFIXES):
                found.append(os.path.join(parent, name))
            elif name.lower().endswith(UNREAD):
                unread[os.path.splitext(name)[1].lower()] += 1
    return found
