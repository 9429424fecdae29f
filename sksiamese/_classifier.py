"""SiameseClassifier: classes by distance in the learned embedding (layer 4)."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import ClassifierMixin

from sksiamese._base import BaseSiamese
from sksiamese._head_methods import HeadMethods
from sksiamese._prediction_methods import PredictionMethods
from sksiamese._validation import HasMethods, Interval, StrOptions


class SiameseClassifier(ClassifierMixin, HeadMethods, PredictionMethods, BaseSiamese):
    """Classify images by their distance to known ones in a learned embedding.

    A siamese network is trained on pairs formed within each batch: images of one class
    are pulled together, images of different classes pushed apart. An image then gets
    the class of the nearest prototype, of its nearest neighbours, or what any
    scikit-learn classifier predicts from its embedding. :meth:`enroll` adds images of
    known and new classes without training.

    Read more in the :ref:`User Guide <guide-classify>`.

    Parameters
    ----------
    backbone : str, Module, class or callable, default="auto"
        Network that makes the embedding. ``"auto"`` is ``"conv"`` for images and
        ``"mlp"`` for feature vectors. Other names are those of
        :func:`sksiamese.backbones.list_backbones`: small published networks and every
        classification model of torchvision. A module, which is copied, or a class or
        callable that returns one, maps float32 tensors of shape
        ``(n, n_channels, height, width)`` to ``(n, embedding_dim)``.

    classifier : {"prototype", "knn"} or classifier, default="prototype"
        What decides on the embeddings: the nearest prototype, scikit-learn's k nearest
        neighbours, or a scikit-learn classifier with ``decision_function`` or
        ``predict_proba``, which is cloned.

    n_neighbors : int, default=5
        Neighbours that vote, for ``classifier="knn"``.

    n_prototypes : int, default=1
        Prototypes of each class, for ``classifier="prototype"``: the mean embedding,
        or the centres of k-means within the class.

    priors : "train", list, tuple, ndarray, dict or None, default=None
        Class frequencies, > 0 and adding up to 1, of the population that probabilities
        and predictions are to refer to: those of all labelled images, enrolled ones
        included (``"train"``), in the order of ``classes_``, or by label; a dict may
        name classes that are to be enrolled. None leaves them as the head has them:
        prototypes take all classes for equally frequent, neighbours and other
        classifiers follow their training images.

    unknown : {"reject"} or None, default=None
        ``"reject"`` predicts ``unknown_label`` for an image that lies farther than
        ``unknown_threshold_`` from every prototype, or from every labelled image if
        ``classifier`` is another. The threshold is set by held-out images, so
        ``validation_fraction`` must leave some. None gives every image a class. Tools
        that ask for probabilities, such as ``CalibratedClassifierCV``, reject nothing.

    unknown_label : str, int or None, default=None
        What :meth:`predict` returns for unknown images, of the kind of the labels but
        none of them. None is -1 for numbers and ``"unknown"`` for strings.

    max_fpr : float, default=0.05
        For ``unknown="reject"``: share of new images of the known classes, in (0, 1),
        that is called unknown at most, with a confidence of 95 %. That takes
        ``log(0.05) / log(1 - max_fpr)`` held-out images, 59 for 0.05 and 299 for 0.01,
        or as many held-out groups. With fewer, a warning tells what can be promised,
        and the threshold is the largest held-out distance.

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
    classes_ : ndarray of shape (n_classes,)
        Sorted class labels.

    head_ : object
        What decides on embeddings. With ``classifier="knn"`` or one of your own,
        ``head_.classifier_`` is the fitted scikit-learn classifier.

    prototypes_ : ndarray of shape (n_classes * n_prototypes, embedding_dim)
        Prototypes in the order of ``classes_``; only with ``classifier="prototype"``.
        Rare classes may have fewer than ``n_prototypes``.

    priors_ : ndarray of shape (n_classes,) or None
        Class frequencies that probabilities refer to, in the order of ``classes_``;
        None if neither ``priors`` nor ``class_weight`` is given.

    temperature_ : float
        Divisor that turns the head's log-odds into calibrated ones.

    calibration_ : dict
        ``"n_images"`` on which the temperature was fitted; the ``"n_classes"`` that
        they are of: what it says of other classes, too small to spare images, rests on
        none of theirs; whether they were ``"held_out"`` from training; and the
        ``"expected_calibration_error"`` that remains on them, a little less than on new
        images; NaN if they were not held out, when it would mean nothing.

    unknown_threshold_ : float
        Value of :meth:`unknown_score` beyond which an image is unknown; only with
        ``unknown="reject"``, as are the next two.

    unknown_label_ : str, int or float
        What unknown images are called.

    unknown_calibration_ : dict
        What the threshold rests on: ``"n_images"``; ``"n_groups"``, or None; the
        ``"classes"`` that they are of; ``"fpr"``, the share of them beyond it; whether
        ``max_fpr`` is ``"promised"``; and ``"bound"``, the rate that is.

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
    SiameseEmbedder : The embedding alone, for use with other estimators.
    SiameseVerifier : Same class or not, at a threshold with a stated error rate.
    sksiamese.search.Gallery : Find the nearest of many stored images.
    sksiamese.save : Keep the fitted estimator in a file.

    Notes
    -----
    Probabilities are ``softmax(logits / temperature)``. The logits of prototypes are
    negative squared distances, those of other heads their ``decision_function`` or
    the logarithm of their ``predict_proba``. The temperature is fitted on the held-out
    images; where classes are too small to spare any, on the training images, which
    makes probabilities too certain: ``calibration_`` tells.

    With ``priors``, the logarithm of how much more frequent a class is wanted than the
    head assumes is added to its log-odds [4]_, also while the temperature is fitted,
    for which the held-out images are weighted to represent the wanted frequencies. The
    order of images by the log-odds of two classes stays what it was.

    The promise of ``max_fpr`` rests on the upper Clopper-Pearson bound of the share of
    held-out images beyond the threshold. It is about new images that come from where
    those did: of their classes, as frequent as there whatever ``priors`` say, and with
    groups of new groups, a random image of each; hence one image of each held-out group
    counts. Copies of an image, and images of a patient, must share a group. With
    ``early_stopping``, held-out images choose the weights too, and it is no longer
    exact. How many images of other classes are told depends on those.

    References
    ----------
    .. [1] Hadsell, Chopra, LeCun, "Dimensionality Reduction by Learning an Invariant
       Mapping", CVPR 2006, https://doi.org/10.1109/CVPR.2006.100
    .. [2] Snell, Swersky, Zemel, "Prototypical Networks for Few-shot Learning",
       NeurIPS 2017, https://doi.org/10.48550/arXiv.1703.05175
    .. [3] Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks",
       ICML 2017, https://doi.org/10.48550/arXiv.1706.04599
    .. [4] Saerens, Latinne, Decaestecker, "Adjusting the Outputs of a Classifier to
       New a Priori Probabilities: A Simple Procedure", Neural Computation 14, 2002,
       https://doi.org/10.1162/089976602753284446

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksiamese import SiameseClassifier
    >>> X, y = load_digits().images, load_digits().target
    >>> clf = SiameseClassifier(max_epochs=5, random_state=0).fit(X[:900], y[:900])
    >>> clf.score(X[900:], y[900:]) > 0.9, clf.predict_proba(X[900:]).shape
    (True, (897, 10))
    >>> clf.history_["validation_score"][-1] > 0.9  # 0.5 is chance
    True
    >>> clf.enroll(X[900:905], [10] * 5).classes_  # a class more, without training
    array([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10])
    """

    _parameter_constraints = {
        **BaseSiamese._parameter_constraints,
        "classifier": [
            StrOptions({"prototype", "knn"}),
            HasMethods(["fit", "predict"]),
        ],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "n_prototypes": [Interval(Integral, 1, None, closed="left")],
        "priors": [None, StrOptions({"train"}), dict, list, tuple, np.ndarray],
        "unknown": [None, StrOptions({"reject"})],
        "unknown_label": [None, str, Real],
        "max_fpr": [Interval(Real, 0, 1, closed="neither")],
    }

    def __init__(
        self,
        backbone="auto",
        *,
        classifier="prototype",
        n_neighbors=5,
        n_prototypes=1,
        priors=None,
        unknown=None,
        unknown_label=None,
        max_fpr=0.05,
        weights=None,
        trainable="all",
        embedding_dim=None,
        normalize=True,
        loss="contrastive",
        margin=1.25,
        mining="auto",
        class_weight=None,
        image_shape=None,
        image_size=None,
        cache_dir=None,
        checkpoint_dir=None,
        n_jobs=None,
        augment="auto",
        augment_minority=1.0,
        classes_per_batch="auto",
        pair_budget="balanced",
        batch_size=128,
        max_epochs="auto",
        lr=3e-3,
        weight_decay=1e-2,
        lr_schedule="one_cycle",
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        device="auto",
        precision="auto",
        random_state=None,
        warm_start=False,
        callbacks=None,
        net_params=None,
        verbose=0,
    ):
        super().__init__(
            backbone,
            weights=weights,
            trainable=trainable,
            embedding_dim=embedding_dim,
            normalize=normalize,
            loss=loss,
            margin=margin,
            mining=mining,
            class_weight=class_weight,
            image_shape=image_shape,
            image_size=image_size,
            cache_dir=cache_dir,
            checkpoint_dir=checkpoint_dir,
            n_jobs=n_jobs,
            augment=augment,
            augment_minority=augment_minority,
            classes_per_batch=classes_per_batch,
            pair_budget=pair_budget,
            batch_size=batch_size,
            max_epochs=max_epochs,
            lr=lr,
            weight_decay=weight_decay,
            lr_schedule=lr_schedule,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            device=device,
            precision=precision,
            random_state=random_state,
            warm_start=warm_start,
            callbacks=callbacks,
            net_params=net_params,
            verbose=verbose,
        )
        self.classifier = classifier
        self.n_neighbors, self.n_prototypes = n_neighbors, n_prototypes
        self.priors = priors
        self.unknown, self.unknown_label = unknown, unknown_label
        self.max_fpr = max_fpr

    @property
    def prototypes_(self):
        """Prototypes in the order of ``classes_``.

        Each is the mean embedding of its class's images, or of one of ``n_prototypes``
        parts of it. The mean of vectors of unit length is shorter than they are: the
        shorter, the more the class is spread out. :meth:`enroll` and
        :meth:`partial_fit` move them.

        Returns
        -------
        ndarray of shape (n_prototypes_total, embedding_dim)
            Prototypes.

        See Also
        --------
        predict : The class of the nearest one, unless ``priors`` move the borders.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.metrics import pairwise_distances_argmin
        >>> from sksiamese import SiameseClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> clf = SiameseClassifier(max_epochs=3, random_state=0).fit(X[:900], y[:900])
        >>> clf.prototypes_.shape
        (10, 64)
        >>> nearest = pairwise_distances_argmin(clf.transform(X[900:]), clf.prototypes_)
        >>> bool((clf.classes_[nearest] == clf.predict(X[900:])).all())
        True
        """
        return self.head_.prototypes_

    def __sklearn_is_fitted__(self):
        return hasattr(self, "head_")
