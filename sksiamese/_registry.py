"""What is known of the public sets of images (layer 0: the standard library only)."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ImageSet:
    """Facts about a set of images, and the form of the file that holds it.

    The file is an ``.npz`` archive with the arrays ``images`` and ``labels`` and those
    of ``fields``, one row an image. Where the set has splits there are such arrays for
    each, as in ``train_images``.

    Parameters
    ----------
    title : str
        Name of the set.

    about : str
        What the images show.

    page : str
        Address of the publisher's page.

    paper : str
        Reference.

    licence : str
        Terms of use.

    file : str
        Name of the file that holds it.

    image_shape : tuple of int
        ``(height, width)`` or ``(height, width, n_channels)``.

    classes : tuple of str
        Names of the classes in the order of the labels; empty if the file tells them.

    splits : tuple of str, default=()
        Official splits.

    fields : dict of str to str, default={}
        Further arrays: name to ``"integer"`` or ``"str"``.

    groups : str or None, default=None
        The field that must not be divided between splits.

    multi_label : bool, default=False
        Whether labels are a column of 0 or 1 for each class.

    packed : bool, default=False
        Whether each image is stored as a row of bits, 1 for ink, and the classes are
        numbered within each split: Omniglot's form.

    remarks : str, default=""
        Known defects, and what to mind.
    """

    title: str
    about: str
    page: str
    paper: str
    licence: str
    file: str
    image_shape: tuple
    classes: tuple
    splits: tuple = ()
    fields: dict = field(default_factory=dict)
    groups: str | None = None
    multi_label: bool = False
    packed: bool = False
    remarks: str = ""


KERMANY = "Kermany et al., Cell 2018, doi:10.1016/j.cell.2018.02.010"
HAM10000 = (
    "Tschandl, Rosendahl, Kittler, The HAM10000 dataset, Scientific Data 2018,"
    " doi:10.1038/sdata.2018.161"
)
ORGANS = (
    "bladder",
    "femur-left",
    "femur-right",
    "heart",
    "kidney-left",
    "kidney-right",
    "liver",
    "lung-left",
    "lung-right",
    "pancreas",
    "spleen",
)


def _medmnist(title, about, classes, *, source, n_channels=1, remarks="", **facts):
    """One of the sets of MedMNIST, which differ in little."""
    name = title.lower()
    alike = {
        "title": title,
        "about": f"{about}, 28 x 28 pixels; part of MedMNIST.",
        "page": "https://medmnist.com",
        "paper": (
            "Yang et al., MedMNIST v2, Scientific Data 2023,"
            f" doi:10.1038/s41597-022-01721-8. Source images: {source}"
        ),
        "licence": "CC BY 4.0",
        "file": f"{name}.npz",
        "image_shape": (28, 28) if n_channels == 1 else (28, 28, n_channels),
        "classes": classes,
        "splits": ("train", "val", "test"),
        "remarks": f"The file tells no patients, so there are no groups. {remarks}",
    }
    return name, ImageSet(**{**alike, **facts})


def _organs(letter, plane):
    """One of the three sets of organs, which differ in the plane."""
    return _medmnist(
        f"Organ{letter}MNIST",
        f"Organs in {plane} slices of computed tomographies of the abdomen",
        ORGANS,
        source="Bilic et al., LiTS, Medical Image Analysis 2023",
        remarks="The official splits divide the scans, and with them the patients.",
    )


MEDMNIST = dict(
    [
        _medmnist(
            "PathMNIST",
            "Tissue in histology slides of colorectal cancer, in colour",
            (
                "adipose",
                "background",
                "debris",
                "lymphocytes",
                "mucus",
                "smooth muscle",
                "normal colon mucosa",
                "cancer-associated stroma",
                "colorectal adenocarcinoma epithelium",
            ),
            source="Kather et al., PLoS Medicine 2019",
            n_channels=3,
            remarks="The test images come from another clinical centre.",
        ),
        _medmnist(
            "ChestMNIST",
            "Frontal chest X-rays with 14 findings, of which an image may have several"
            " or none",
            (
                "atelectasis",
                "cardiomegaly",
                "effusion",
                "infiltration",
                "mass",
                "nodule",
                "pneumonia",
                "pneumothorax",
                "consolidation",
                "edema",
                "emphysema",
                "fibrosis",
                "pleural",
                "hernia",
            ),
            source="Wang et al., ChestX-ray8, CVPR 2017",
            multi_label=True,
            remarks="The findings were mined from the text of reports.",
        ),
        _medmnist(
            "DermaMNIST",
            "Pigmented skin lesions under the dermatoscope, in colour",
            (
                "actinic keratoses and intraepithelial carcinoma",
                "basal cell carcinoma",
                "benign keratosis-like lesions",
                "dermatofibroma",
                "melanoma",
                "melanocytic nevi",
                "vascular lesions",
            ),
            source=HAM10000,
            n_channels=3,
            licence="CC BY-NC 4.0",
            remarks=(
                "The official splits leak: images of one lesion are in several of them"
                " (Abhishek et al., Scientific Data 2025,"
                " doi:10.1038/s41597-025-04382-5)."
            ),
        ),
        _medmnist(
            "OCTMNIST",
            "Optical coherence tomographies of retinas",
            (
                "choroidal neovascularization",
                "diabetic macular edema",
                "drusen",
                "normal",
            ),
            source=KERMANY,
        ),
        _medmnist(
            "PneumoniaMNIST",
            "Chest X-rays of children",
            ("normal", "pneumonia"),
            source=KERMANY,
            remarks=(
                "The file of the project's tests has the official images and splits,"
                " but the training images in another order."
            ),
        ),
        _medmnist(
            "RetinaMNIST",
            "Fundus photographs in colour, graded by diabetic retinopathy from 0 to 4",
            ("0", "1", "2", "3", "4"),
            source="DeepDRiD challenge",
            n_channels=3,
            remarks="The classes have an order.",
        ),
        _medmnist(
            "BreastMNIST",
            "Ultrasound images of breasts",
            ("malignant", "normal, benign"),
            source="Al-Dhabyani et al., Data in Brief 2020",
        ),
        _medmnist(
            "BloodMNIST",
            "Normal blood cells under the microscope, in colour",
            (
                "basophil",
                "eosinophil",
                "erythroblast",
                "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)",
                "lymphocyte",
                "monocyte",
                "neutrophil",
                "platelet",
            ),
            source="Acevedo et al., Data in Brief 2020",
            n_channels=3,
        ),
        _medmnist(
            "TissueMNIST",
            "Cells of the human kidney cortex under the microscope",
            (
                "Collecting Duct, Connecting Tubule",
                "Distal Convoluted Tubule",
                "Glomerular endothelial cells",
                "Interstitial endothelial cells",
                "Leukocytes",
                "Podocytes",
                "Proximal Tubule Segments",
                "Thick Ascending Limb",
            ),
            source="BBBC051, Broad Bioimage Benchmark Collection",
            remarks="All cells come from three specimens, which the splits divide.",
        ),
        _organs("A", "axial"),
        _organs("C", "coronal"),
        _organs("S", "sagittal"),
    ]
)

SETS = {
    "mnist": ImageSet(
        title="MNIST",
        about="Handwritten digits, 28 x 28 pixels, light ink on a black ground.",
        page="https://yann.lecun.com/exdb/mnist",
        paper=(
            "LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to"
            " document recognition, Proceedings of the IEEE 1998,"
            " doi:10.1109/5.726791"
        ),
        licence="usually stated as CC BY-SA 3.0",
        file="mnist.npz",
        image_shape=(28, 28),
        classes=tuple("0123456789"),
        splits=("train", "test"),
        remarks="The writers are not told, so there are no groups.",
    ),
    "omniglot": ImageSet(
        title="Omniglot",
        about=(
            "Handwritten characters of 50 alphabets, 20 drawings of each, 105 x 105"
            " pixels; ink is 0 and paper 255, as in the official files. The whole set"
            " is 32,460 images, which take 358 MB."
        ),
        page="https://github.com/brendenlake/omniglot",
        paper=(
            "Lake, Salakhutdinov, Tenenbaum, Human-level concept learning through"
            " probabilistic program induction, Science 2015,"
            " doi:10.1126/science.aab3050"
        ),
        licence="MIT",
        file="omniglot.npz",
        image_shape=(105, 105),
        classes=(),
        splits=("background", "evaluation"),
        fields={
            "alphabet": "integer",
            "character_in_alphabet": "integer",
            "drawer": "integer",
        },
        groups="alphabet",
        packed=True,
        remarks=(
            "The groups are the alphabets, by which the official splits divide the set."
            " To tell known characters in another hand, split by drawer instead, a"
            " number from 0 to 19 that the files give to each drawing of a character."
            " The images run in the order of the official file numbers. One background"
            " image is a duplicate of another, pixel for pixel."
        ),
    ),
    **MEDMNIST,
    "malaria_cells": ImageSet(
        title="Malaria cells",
        about="Cells in thin blood smears, with or without parasites, 50 x 50, grey.",
        page=(
            "https://lhncbc.nlm.nih.gov/LHC-research/LHC-projects/image-processing/"
            "malaria-datasheet.html"
        ),
        paper="Rajaraman et al., PeerJ 2018, doi:10.7717/peerj.4568",
        licence="public release of the U.S. National Library of Medicine",
        file="malaria_cells_50_gray.npz",
        image_shape=(50, 50),
        classes=("uninfected", "parasitized"),
        fields={"patient": "integer", "cell_name": "str"},
        groups="patient",
        remarks=(
            "The official set has 27,558 cells of 200 patients in colour, 100 to 200"
            " pixels wide; resized to grey, they lack the colour of the stain. patient"
            " is the number after the leading C of the official file name, which is"
            " cell_name. The file of the project's tests holds 12,493 cells, at most 30"
            " uninfected and 90 parasitized ones a patient."
        ),
    ),
    "ham10000": ImageSet(
        title="HAM10000",
        about="Pigmented skin lesions under the dermatoscope, 64 x 64, in colour.",
        page="https://doi.org/10.7910/DVN/DBW86T",
        paper=HAM10000,
        licence="CC BY-NC 4.0 (non-commercial)",
        file="ham10000_subset_64.npz",
        image_shape=(64, 64, 3),
        classes=("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"),
        fields={
            "malignant": "integer",
            "lesion_id": "str",
            "image_id": "str",
            "dx_type": "str",
        },
        groups="lesion_id",
        remarks=(
            "The official set has 10,015 images of 600 x 450 pixels, of which several"
            " may show one lesion. malignant is 1 for mel, bcc and akiec. The order of"
            " the classes is DermaMNIST's; images and size are not. The file of the"
            " project's tests holds 2,961 images, one a lesion, with 1,300 of the nv,"
            " so that nv is rarer than in the official set."
        ),
    ),
    "brain_mri": ImageSet(
        title="Brain Tumor MRI Dataset",
        about="Magnetic resonance images of brains, 128 x 128, grey.",
        page=(
            "https://www.kaggle.com/datasets/masoudnickparvar/brain-tumor-mri-dataset"
        ),
        paper="none; compiled by M. Nickparvar from J. Cheng's set, SARTAJ and Br35H",
        licence="usually stated as CC0",
        file="brain_mri_128_gray.npz",
        image_shape=(128, 128),
        classes=("glioma", "meningioma", "notumor", "pituitary"),
        splits=("train", "test"),
        fields={"names": "str"},
        remarks=(
            "The official set leaks: 189 distinct images (compared at 128 x 128, grey)"
            " are in both its 5,712 training and its 1,311 test images, and 30 test"
            " images repeat others. The file of the project's tests holds 400 training"
            " images a class, drawn after those equal to a test image or to an earlier"
            " training image were left out, and all test images. 179 of these are still"
            " near copies of training images, coded again or of other contrast, all but"
            " one without tumour (see sksiamese.pairs.find_duplicates). No patients are"
            " told, so there are no groups. names are the official file names."
        ),
    ),
    "cats_dogs": ImageSet(
        title="Dogs vs. Cats",
        about="Photographs of cats and of dogs (Asirra), 64 x 64, grey.",
        page="https://www.kaggle.com/c/dogs-vs-cats",
        paper=(
            "Elson, Douceur, Howell, Saul, Asirra: a CAPTCHA that exploits"
            " interest-aligned manual image categorization, ACM CCS 2007"
        ),
        licence="the terms of the Kaggle competition",
        file="cats_dogs_64_gray.npz",
        image_shape=(64, 64),
        classes=("cat", "dog"),
        splits=("train", "test"),
        fields={"number": "integer"},
        remarks=(
            "The official set has 25,000 labelled images in colour and no labelled test"
            " images. The file of the project's tests takes its training images from"
            " the numbers 0 to 1,999 of each class and its test images from 11,500 to"
            " 11,999. number is N in cat.N.jpg and dog.N.jpg. At least one picture is"
            " a placeholder, labelled as its file name says."
        ),
    ),
}
