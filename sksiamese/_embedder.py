"""SiameseEmbedder: images to embeddings (layer 4)."""

from sksiamese._base import BaseSiamese
from sksiamese._onnx import export_embedder
from sksiamese._validation import check_is_fitted


class SiameseEmbedder(BaseSiamese):
    """Map images to an embedding in which images of one class lie close together.

    A siamese network is trained on pairs that are formed within each batch: images of
    one class are pulled together, images of different classes pushed apart. The
    embedding serves as input of other estimators, for distances between images and for
    similarity search.

    Read more in the :ref:`User Guide <guide-losses>`.

    Parameters
    ----------
    backbone : str, Module, class or callable, default="auto"
        Network that makes the embedding. ``"auto"`` is ``"conv"`` for images and
        ``"mlp"`` for feature vectors. Other names are those of
        :func:`sksiamese.backbones.list_backbones`: small published networks and every
        classification model of torchvision. A module, which is copied, or a class or
        callable that returns one, maps float32 tensors of shape
        ``(n, n_channels, height, width)`` to ``(n, embedding_dim)``.

    weights : str, path-like or None, default=None
        Weights to start from: a name of torchvision's weights for that backbone,
        ``"DEFAULT"`` for the best of them, or the path of a state dict. Pretrained
        torchvision weights, by name or by path, bring their own normalisation; images
        must then be ``uint8`` or lie in [0, 1].

    trainable : {"all", "head"} or int, default="all"
        Layers that train. An int k trains the last k convolutions or linear layers;
        ``"head"`` is 1. What comes before is frozen, statistics of batch normalisation
        included.

    embedding_dim : int or None, default=None
        Length of the embedding. None takes the backbone's own: 64, or that of the
        published network.

    normalize : bool, default=True
        Scale embeddings to unit length, so that distances lie between 0 and 2.

    loss : str or Module, default="contrastive"
        ``"contrastive"``, ``"focal_contrastive"`` (in which pairs that the network gets
        right hardly count), ``"triplet"``, ``"multi_similarity"``,
        ``"supervised_contrastive"``, ``"logistic"`` (a learned head on the absolute
        differences) or ``"logistic_distance"`` (on the distance), see
        :mod:`sksiamese.losses`. Or a module called as ``loss(embeddings, labels)``,
        such as those of pytorch-metric-learning, whose own parameters are trained too.

    margin : float, default=1.25
        Distance beyond which a pair of two classes costs nothing, for the contrastive
        losses; how much farther than a positive a negative must be, for
        ``"triplet"``. In the unit of the embedding distance: useful margins are below 2
        when ``normalize=True``. Other losses have none, and ignore it.

    mining : {"auto", "all", "semihard", "hard"}, default="auto"
        Pairs or triplets of a batch that count. ``"all"`` takes every one, ``"hard"``
        each image's farthest positive and nearest negative, ``"semihard"`` the nearest
        negatives that are farther than a positive. ``"auto"`` is ``"semihard"`` for
        losses with a margin and ``"all"`` otherwise. ``"supervised_contrastive"`` and
        modules weigh the pairs themselves and refuse anything but ``"auto"`` and
        ``"all"``.

    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the contrastive losses; others have none. A pair
        counts by the mean of its members' weights, of which only the proportions
        matter. ``"balanced"`` weighs a class by the inverse of its training images; a
        dict goes from label to weight, > 0, and is 1 for labels that it leaves out.
        Batches are balanced already, unless ``pair_budget`` says otherwise. A
        classifier's log-odds shift by the logarithm of the weights too, so that equal
        weights change nothing, and ``"balanced"`` takes all classes for equally
        frequent; ``priors`` take the place of that.

    image_shape : tuple of int or None, default=None
        ``(height, width)`` or ``(height, width, n_channels)`` of images that come
        flattened, one in each row of a 2-D ``X``, as scikit-learn's and
        imbalanced-learn's tools need them.

    image_size : int, tuple of int or None, default=None
        Height and width to resize images to, inside the network; an int means both.
        None keeps their size. For files, the size to read them at, which must be set.

    cache_dir : path-like or None, default=None
        Folder in which the pixels of files are kept, decoded, for later calls, other
        estimators and other processes; they are then read from there as they are
        needed. None decodes them in each call, into memory. A file that was changed is
        decoded again. Fewer than 32 files are not kept. Delete the folder to free the
        space.

    checkpoint_dir : path-like or None, default=None
        Folder in which ``fit`` keeps its training, in ``training.checkpoint``, which it
        writes anew after each epoch. The same call with the same images goes on from
        there after a crash or Ctrl-C, and ends with the same bits as one that was never
        stopped; after its end it trains nothing. One folder belongs to one training:
        that of other images or parameters, or on another version of PyTorch, is
        refused. Where ``random_state`` is None, the seed comes from the file. Callbacks
        need ``state_dict()`` and ``load_state_dict(state)``; random numbers must come
        from the global generators of PyTorch, NumPy or Python, and what training
        changes in a module be a weight, a buffer or its extra state. Searches,
        cross-validation and calibration train more than once: None there; within
        SiameseVerifier, give that an int as ``random_state``. None keeps nothing.

    n_jobs : int or None, default=None
        Threads that decode files, as in scikit-learn; -1 takes all processors.

    augment : str, callable or None, default="auto"
        Random changes of training images. ``"light"``, ``"medium"`` and ``"strong"``
        are :class:`sksiamese.augment.RandomAffine` with half, once and twice its ranges
        and never mirror, since left and right matter in hearts, hands, letters and
        digits. ``"isotropic"`` turns by any angle and mirrors both ways, for cells,
        skin lesions and histology, which have no up or left. ``"auto"`` is ``"medium"``
        for images and nothing for feature vectors. A RandomAffine of your own sees
        standardised images. Any other callable maps float32 images of shape
        ``(n, n_channels, height, width)`` to images of that shape and unit: between 0
        and 1 if ``X`` holds ``uint8`` or ``uint16``, raw values otherwise, for they are
        standardised afterwards. So kornia and torchvision.transforms fit, without
        their ``Normalize``; torchvision's are called image by image, as they draw once
        per call, unless a function of your own hides them. For feature vectors it sees
        standardised ones.

    augment_minority : float, default=1.0
        How much more strongly than the largest class rare ones are augmented, at most:
        the ranges of RandomAffine for an image of class c are multiplied by
        ``min(augment_minority, n_largest / n_c)``, numbers of training images, so never
        by more than balanced batches repeat that class. Strength then goes with the
        class, and a network may learn to tell classes by it: compare with 1.0 on
        images that did not train.

    classes_per_batch : int or "auto", default="auto"
        Classes in a batch, with equally many images of each. ``"auto"`` takes all of
        them, but leaves room for four images of each.

    pair_budget : {"balanced", "natural"} or dict, default="balanced"
        Whose pairs fill a batch. ``"balanced"``: each class's alike, by equally many
        images. ``"natural"``: as often as they occur, from plainly shuffled batches.
        A dict from every label to its relative number of positive pairs, > 0: images
        of each class, two at least, go nearly with its square root. A class with fewer
        images than its share joins a batch with all of them.

    batch_size : int, default=128
        Largest number of images in a batch.

    max_epochs : int or "auto", default="auto"
        Passes over the training images. A pass draws about as many images as there
        are; ``"auto"`` is 12 and as many more as show 40,000 images.

    lr : float, default=0.003
        Learning rate of AdamW, the highest one if it follows a schedule.

    weight_decay : float, default=0.01
        Weight decay of AdamW, on weights other than biases and scales.

    lr_schedule : {"one_cycle", "cosine", "constant"}, default="one_cycle"
        Course of the learning rate over all batches.

    early_stopping : bool, default=False
        Stop when the validation score no longer improves, and restore the best weights.

    validation_fraction : float, default=0.1
        Share of the images that does not train but gives the validation score after
        each epoch and the calibration of probabilities. Classes for which it comes to
        less than two images train whole. 0 holds nothing out.

    n_iter_no_change : int, default=5
        Epochs without improvement after which ``early_stopping`` stops.

    device : str, default="auto"
        PyTorch device. ``"auto"`` takes a CUDA device if there is one.

    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Arithmetic of training. ``"auto"`` is bfloat16 for convolutional networks where
        the machine has units for it. Losses, distances and all predictions are computed
        in float32.

    random_state : int, RandomState instance or None, default=None
        Determines initial weights, held-out images, batches and augmentation. Equal
        seeds give equal models on the same machine. None draws fresh entropy; no global
        generator is read or changed.

    warm_start : bool, default=False
        Go on from the weights of the previous ``fit``, with the backbone and the loss
        of that. On the same data the same images stay held out; on other data none are,
        as they might have trained before.

    callbacks : list of skorch callbacks or None, default=None
        Callbacks, copied, called in training. They may monitor ``train_loss``,
        ``train_loss_best``, ``positive_distance``, ``negative_distance``,
        ``valid_score`` and ``valid_score_best``; there is no ``valid_loss``. None may
        wait for a fit in another thread: trainings take turns.

    net_params : dict or None, default=None
        Arguments of ``skorch.NeuralNet`` that no parameter here stands for:
        ``"optimizer"``, ``"optimizer__..."`` and ``"compile"``; for example
        ``{"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9}``.

    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained network.

    image_shape_ : tuple of int
        Shape of one sample: ``(height, width)``, ``(height, width, n_channels)`` or
        ``(n_features,)``.

    n_features_in_ : int
        Number of columns of rows; for images, the length of their first axis.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Column names of ``X``, if they were all strings.

    n_iter_ : int
        Epochs trained.

    history_ : dict of lists
        One value for each epoch: ``"loss"``; ``"positive_distance"`` and
        ``"negative_distance"``, mean distances in the training batches;
        ``"validation_score"``, the area under the ROC curve of held-out pairs, NaN
        without any; ``"seconds"``.

    See Also
    --------
    SiameseClassifier : Predict class labels from the same embedding.
    SiameseVerifier : Same class or not, at a threshold with a stated error rate.
    sksiamese.search.Gallery : Find the nearest of many stored images.
    sksiamese.save : Keep the fitted estimator in a file.

    Notes
    -----
    Each image of a batch is embedded once and all B (B - 1) / 2 pairs of the batch are
    formed from the embeddings; a loop over pairs embeds two images for each pair.

    References
    ----------
    .. [1] Hadsell, Chopra, LeCun, "Dimensionality Reduction by Learning an Invariant
       Mapping", CVPR 2006, https://doi.org/10.1109/CVPR.2006.100

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksiamese import SiameseEmbedder
    >>> X, y = load_digits().images, load_digits().target
    >>> embedder = SiameseEmbedder(max_epochs=5, random_state=0).fit(X[:900], y[:900])
    >>> embedder.transform(X[900:]).shape
    (897, 64)
    >>> zeros, ones = X[900:][y[900:] == 0], X[900:][y[900:] == 1]
    >>> alike = embedder.pair_distance((zeros[:20], zeros[20:40]))
    >>> unlike = embedder.pair_distance((zeros[:20], ones[:20]))
    >>> bool(alike.mean() < 0.5 * unlike.mean())
    True
    """

    def to_onnx(self, path):
        """Write preprocessing and network to an ONNX file, to be run without Python.

        Its input ``"images"`` is what :meth:`transform` takes, as an array of shape
        ``(n, *image_shape_)``, also where rows came flattened and pixels from files,
        with any n and the dtype of the first images trained on, such as ``uint8``. Its
        output ``"embeddings"``, float32 of shape ``(n, embedding_dim)``, is what
        :meth:`transform` returns, but for rounding. Values that overflow are not
        refused there. While this runs, trainings in other threads wait, and predictions
        there may differ by rounding.

        Parameters
        ----------
        path : path-like
            File to write, in one step: an older one stays as it is if this fails.

        Raises
        ------
        ImportError
            If onnx or onnxscript is missing: ``pip install "sksiamese[onnx]"``; or if
            PyTorch is older than 2.9.

        ValueError
            If the backbone does what ONNX cannot express, or has weights of 2 GiB.

        See Also
        --------
        sksiamese.save : Keep the estimator itself, to be loaded in Python.

        Notes
        -----
        The model's metadata hold ``image_shape`` as JSON. The operators are those of
        opset 18, which onnxruntime knows since version 1.14.

        Examples
        --------
        >>> import os, tempfile
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseEmbedder
        >>> X, y = load_digits().images.astype("uint8"), load_digits().target
        >>> embedder = SiameseEmbedder(max_epochs=1, random_state=0).fit(X, y)
        >>> path = os.path.join(tempfile.mkdtemp(), "digits.onnx")
        >>> embedder.to_onnx(path)
        >>> import onnxruntime
        >>> session = onnxruntime.InferenceSession(path)
        >>> session.run(["embeddings"], {"images": X[:5]})[0].shape
        (5, 64)
        """
        check_is_fitted(self)
        export_embedder(self, path)
