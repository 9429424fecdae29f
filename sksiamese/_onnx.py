"""Fitted estimators as ONNX files that need neither Python nor this package (layer 2).

The file holds all that lies between the caller's array and the answer: preprocessing,
the network, and the prototypes of a classifier. It is made on a copy in the memory of
the CPU, and written whole or not at all.
"""

import contextlib
import copy
import json
import os
import secrets
from importlib.metadata import version

import numpy as np
import torch
from torch import nn

from sksiamese._batches import ResidentData
from sksiamese._device import isolated_random_state
from sksiamese._module import EmbeddingNet
from sksiamese._open_set import add_label

# The first with antialiased resizing; known to every runtime since 2023.
_OPSET = 18
# A file of protocol buffers, as ONNX files are, cannot be longer.
_MAX_BYTES = 2**31 - 2**20
_LARGEST = np.iinfo(np.int64).max


def export_embedder(estimator, path):
    """Write the network of an estimator to an ONNX file.

    Parameters
    ----------
    estimator : BaseSiamese
        Fitted estimator.

    path : path-like
        File to write.

    Raises
    ------
    ImportError
        If onnx or onnxscript is missing, or PyTorch older than 2.9.

    ValueError
        If the network cannot be exported.
    """
    with _written_whole(path) as file:
        network = _copy_network(estimator)
        model = _export(estimator, network, ["embeddings"])
        _describe(model, estimator, {})
        file.write(model.SerializeToString())


def export_classifier(estimator, path):
    """Write the network of a classifier and its prototypes to an ONNX file.

    Parameters
    ----------
    estimator : SiameseClassifier
        Fitted estimator, with ``classifier="prototype"``.

    path : path-like
        File to write.

    Raises
    ------
    ImportError
        If onnx or onnxscript is missing, or PyTorch older than 2.9.

    ValueError
        If the classifier has another head, or the network cannot be exported.
    """
    if not hasattr(estimator.head_, "prototypes_"):
        raise ValueError(
            f"classifier={estimator.classifier!r} decides by scikit-learn, and only"
            " prototypes can be exported: use classifier='prototype'. Or fit a"
            " SiameseEmbedder with the same parameters and random_state and export"
            " that, and head_.classifier_, which takes its embeddings, with skl2onnx."
        )
    outputs = ["embeddings", "probabilities", "labels", "unknown_score"]
    with _written_whole(path) as file:
        network = _Classification(_copy_network(estimator), estimator)
        model = _export(estimator, network, outputs)
        _describe(model, estimator, _name_classes(model, estimator))
        file.write(model.SerializeToString())


class _Classification(nn.Module):
    """Embedding, probabilities, index of the predicted label and distance.

    Squared distances are computed in double precision, as in ``PrototypeHead``: in
    single precision small ones are lost in rounding.
    """

    def __init__(self, network, estimator):
        super().__init__()
        self.network = network
        head, known = estimator.head_, estimator._unknown_head
        # Prototypes of each class, the last again for classes with fewer than others.
        first = np.searchsorted(head.labels_, estimator.classes_)
        counts = np.searchsorted(head.labels_, estimator.classes_, "right") - first
        rank = np.minimum(np.arange(counts.max()), np.maximum(counts - 1, 0)[:, None])
        # A class without any gets those of another, and the offset of minus infinity.
        column = np.minimum(first[:, None] + rank, len(head.labels_) - 1)
        self.n_classes, self.n_ranks = column.shape
        self.register_buffer("column", torch.from_numpy(column.ravel()))
        offset = estimator._calibrated(np.zeros((1, len(head.classes_))))
        self.register_buffer("offset", torch.from_numpy(offset))
        self.register_buffer("prototypes", _double(head.prototypes_))
        known = None if known is None else _double(known.prototypes_)
        self.register_buffer("known", known)
        self.register_buffer("temperature", _double(estimator.temperature_))
        threshold = getattr(estimator, "unknown_threshold_", None)
        threshold = None if threshold is None else _double(threshold)
        self.register_buffer("threshold", threshold)

    def forward(self, x):
        """Classify a batch."""
        z = self.network(x)
        squares = _squares(z, self.prototypes)
        of_classes = squares.index_select(1, self.column)
        of_classes = of_classes.view(-1, self.n_classes, self.n_ranks).amin(2)
        logits = self.offset - of_classes / self.temperature
        index, nearest = logits.argmax(1), squares.amin(1)
        if self.known is not None:
            nearest = torch.minimum(nearest, _squares(z, self.known).amin(1))
        novelty = nearest.sqrt()
        if self.threshold is not None:
            # What is no number is not near either.
            index = torch.where(novelty <= self.threshold, index, self.n_classes)
        return z, logits.softmax(1).float(), index, novelty.float()


def _squares(z, prototypes):
    """Squared distances to all prototypes."""
    z = z.double()
    norms = z.square().sum(1, keepdim=True) + prototypes.square().sum(1)
    return (norms - 2 * z @ prototypes.T).clamp(min=0)


def _double(values):
    """Copy numbers to a tensor of double precision."""
    return torch.tensor(values, dtype=torch.float64)


def _copy_network(estimator):
    """Copy what embeds to the CPU; the estimator's own may be compiled and elsewhere.

    Augmentation stays behind, which may be anything.
    """
    module = getattr(estimator.net_.module_, "_orig_mod", estimator.net_.module_)
    parts = [copy.deepcopy(part).cpu() for part in (module.preprocess, module.backbone)]
    return EmbeddingNet(*parts, normalize=module.normalize)


def _export(estimator, network, outputs):
    """Translate a network that takes the images of an estimator."""
    _check_packages()
    n_bytes = sum(tensor.nbytes for tensor in network.state_dict().values())
    if n_bytes > _MAX_BYTES:
        raise ValueError(
            f"backbone={estimator.backbone!r} has weights of {n_bytes / 2**30:.1f} GiB,"
            " but an ONNX file holds less than 2 GiB: choose a smaller backbone."
        )
    # Two, since PyTorch would take a batch of one for one of that length for ever.
    images = np.zeros((2, *estimator.image_shape_), estimator._dtype)
    images, _ = ResidentData(images).take(slice(2))
    try:
        # PyTorch translates one network at a time.
        with isolated_random_state(0, "cpu"), torch.no_grad():
            program = torch.onnx.export(
                network.eval(),
                (images,),
                input_names=["images"],
                output_names=outputs,
                opset_version=_OPSET,
                dynamic_shapes=({0: torch.export.Dim("n")},),
                dynamo=True,
                verbose=False,
            )
    except (MemoryError, ImportError, OSError):
        raise
    except Exception as error:  # a network may do anything that ONNX cannot
        # PyTorch wraps it into advice for its own developers.
        raise _refusal(estimator, error.__cause__ or error) from error
    model = program.model_proto
    # A network that decides by the number of images is translated for two of them.
    taken, given = (
        value.type.tensor_type.shape.dim[0].dim_param
        for value in (model.graph.input[0], model.graph.output[0])
    )
    if not taken or taken != given:
        raise _refusal(estimator, "it does not take any number of images")
    return model


def _refusal(estimator, why):
    """Make the error for a network that ONNX cannot express."""
    return ValueError(
        f"backbone={estimator.backbone!r} cannot be exported to ONNX: its forward must"
        " consist of operations of PyTorch that ONNX has, without decisions by the"
        f" values or the number of images. The reason: {why}"
    )


def _check_packages():
    """Check that the optional packages are there, and that PyTorch goes with them."""
    if torch.__version__ < (2, 9):  # fails at batch normalisation or resizing
        raise ImportError(
            f"to_onnx needs PyTorch 2.9 or newer, but this is {torch.__version__}:"
            " update torch."
        )
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'to_onnx needs onnx and onnxscript: pip install "sksiamese[onnx]"'
        ) from error


def _name_classes(model, estimator):
    """Turn the index of the predicted label into the label; return what to record."""
    from onnx import helper

    classes = estimator.classes_
    record, table = {"classes": classes.tolist()}, classes
    if hasattr(estimator, "unknown_threshold_"):
        table = add_label(classes, estimator.unknown_label_)
        record["unknown_label"] = estimator.unknown_label_
        record["unknown_threshold"] = estimator.unknown_threshold_
    kind, values, record["labels"] = _list_labels(table, len(classes))
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["index" if name == "labels" else name for name in node.output]
    graph.initializer.append(helper.make_tensor("label", kind, [len(table)], values))
    graph.node.append(helper.make_node("Gather", ["label", "index"], ["labels"]))
    output = next(output for output in graph.output if output.name == "labels")
    output.type.tensor_type.elem_type = kind
    return record


def _list_labels(table, n_classes):
    """List what is predicted, as ONNX has it; return its type, itself and its name."""
    from onnx import TensorProto

    labels = table.tolist()
    if all(isinstance(label, str) and _is_encodable(label) for label in labels):
        return TensorProto.STRING, [label.encode() for label in labels], "classes"
    # Floats are whole numbers, or they would be no classes.
    if table.dtype.kind in "iuf" and max(map(abs, labels)) <= _LARGEST:
        return TensorProto.INT64, [int(label) for label in labels], "classes"
    return TensorProto.INT64, [*range(n_classes), -1][: len(table)], "indices"


def _is_encodable(label):
    """Whether a text is the same in ONNX, where it ends at a null."""
    try:
        return b"\0" not in label.encode()
    except UnicodeEncodeError:
        return False


def _describe(model, estimator, record):
    """Say what the file is, and nothing about the machine that it was made on."""
    from onnx import helper

    graph = model.graph
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, graph):
        part.ClearField("metadata_props")  # names of source files, among others
    model.producer_name, model.producer_version = "sksiamese", version("sksiamese")
    record = {"image_shape": estimator.image_shape_, **record}
    record = {key: json.dumps(value, default=str) for key, value in record.items()}
    helper.set_model_props(model, record)


@contextlib.contextmanager
def _written_whole(path):
    """Open a file that takes the place of ``path`` once it is whole."""
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
