"""Descriptions: equal for equal values, in every process, and for no others."""

import copy
import functools
import os
import random
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sksiamese._describe import Description
from sksiamese.augment import RandomAffine
from sksiamese.losses import ContrastiveLoss

# Written to a file, imported by other processes: compiled in the first of them, read
# from its cache in the second.
MODULE = """
import functools, random
import numpy as np
import torch
from torch import nn

KNOWN = {"a", "b"}

def named(x, *, factor=(1, 2)):
    return x in {"red", "green", "blue"} or [x for _ in range(3) if x > 0.5]

def made(factor):
    def inner(x):
        return x * factor if factor else inner(x - 1)
    return inner

class Network(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.layer = nn.Linear(width, 2)
        self.norm = nn.BatchNorm2d(2)
        self.names = {"x", "y", "z"}

    def forward(self, x):
        return self.norm(self.layer(x))

class Slots:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value

def values():
    torch.manual_seed(0)
    network = Network()
    return {
        "function": named,
        "closure": made(2),
        "class": Network,
        "module": network,
        "method": network.forward,
        "partial": functools.partial(named, factor=3),
        "sequence": nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), network),
        "slots": Slots({"u": 1, "v": frozenset("vwxyz")}),
        "array": np.arange(4.0),
        "optimizer": {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9},
        "builtin": [len, torch.relu, np.sin, torch.float16, slice(3), random.random],
        "unpicklable": [x for x in [open]] + [(i for i in range(3))],
    }
"""

SHOW = """
import json
from sksiamese._describe import Description
import described
texts = {name: Description(value).text for name, value in described.values().items()}
print(json.dumps(texts))
"""


def test_description_is_the_same_in_every_process(tmp_path):
    (tmp_path / "described.py").write_text(MODULE)
    texts = set()
    for seed in ("1", "2"):
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        settings = {"PYTHONHASHSEED": seed, "PYTHONPATH": path}
        settings.update(PYTHONDONTWRITEBYTECODE="", PYTHONPYCACHEPREFIX="")
        done = subprocess.run(
            [sys.executable, "-c", SHOW],
            capture_output=True,
            text=True,
            env={**os.environ, **settings},
        )
        assert done.returncode == 0, done.stderr
        texts.add(done.stdout)
    assert len(texts) == 1
    assert list(tmp_path.rglob("described*.pyc"))


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (1, 1.0, "1"),
        (0.5, np.float64(0.5), "0.5"),
        (True, np.True_, "True"),
        ("a", np.str_("a"), "'a'"),
        ((8, 8), [8, np.int64(8)], "[8, 8]"),
        ({1: 2, 0: 1}, {np.int64(0): 1.0, 1: 2.0}, "{0: 1, 1: 2}"),
        (Path("x") / "y", os.path.join("x", "y"), repr(os.path.join("x", "y"))),
        (None, None, "None"),
    ],
)
def test_plain_values_are_written_out_in_one_way(first, second, text):
    assert Description(first).text == Description(second).text == text


def test_long_values_are_cut_but_told_apart():
    first, second = ({i: i for i in range(200)} for _ in range(2))
    second[199] = 0
    texts = [Description(value).text for value in (first, second)]
    assert texts[0] != texts[1]
    assert max(map(len, texts)) < 100


def seeded(network, seed=0):
    torch.manual_seed(seed)
    return network()


def changed(module, **attributes):
    module = copy.deepcopy(module)
    vars(module).update(attributes)
    return module


LINEAR = seeded(lambda: nn.Linear(3, 2))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (True, 1),
        ("1", 1),
        (0.1, float(np.nextafter(0.1, 1))),
        (float("nan"), None),
        (lambda x: x + 1, lambda x: x + 2),
        (lambda x, k=1: x, lambda x, k=2: x),
        (lambda x: x.sin(), lambda x: x.cos()),
        (LINEAR, seeded(lambda: nn.Linear(3, 2), 1)),
        (LINEAR, copy.deepcopy(LINEAR).double()),
        (nn.Dropout(0.1), nn.Dropout(0.2)),
        (ContrastiveLoss(margin=1.0), ContrastiveLoss(margin=1.1)),
        (RandomAffine(), RandomAffine(rotation=9)),
        (functools.partial(max, 1), functools.partial(max, 2)),
        ([LINEAR, nn.ReLU], [LINEAR, nn.GELU]),
        (np.zeros(2), np.zeros(3)),
        ([np.zeros(2, np.float32)], [np.zeros(1, np.float64)]),
        (torch.zeros(2), torch.zeros(1, 2)),
        ({"optimizer": torch.optim.SGD}, {"optimizer": torch.optim.Adam}),
        (np.array(["a", None], object), np.array(["b", None], object)),
    ],
)
def test_other_values_have_other_descriptions(first, second):
    assert Description(first).text != Description(second).text
    assert Description(first).text == Description(copy.deepcopy(first)).text


def test_values_that_hold_themselves_are_described():
    def looped(end):
        values = [LINEAR, end]
        values.append(values)
        return values

    assert Description(looped(1)).text == Description(looped(1)).text
    assert Description(looped(1)).text != Description(looped(2)).text


def test_sharing_of_parts_makes_no_difference():
    part = [LINEAR]
    shared, apart = [part, part], [[LINEAR], [LINEAR]]
    assert Description(shared).text == Description(apart).text


def test_description_changes_nothing():
    before = random.getstate(), torch.get_rng_state()
    network = seeded(lambda: nn.Sequential(nn.Linear(3, 2), nn.Dropout()))
    state = copy.deepcopy(network.state_dict())
    torch.set_rng_state(before[1])
    Description([network, np.random.default_rng(0), random.Random(0)])
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())


SOURCE = np.random.default_rng(0)


def draws_from_a_global(x):
    return SOURCE.normal(x)


def draws_from_the_library(x):
    return np.random.normal(x) + random.random() + torch.rand(())  # noqa: NPY002


def test_generators_are_found_wherever_they_are():
    sources = (SOURCE, np.random.RandomState(0), random.Random(0), torch.Generator())
    for source in sources:
        holder = changed(nn.Identity(), source=source)
        holding = (
            {"a": [source]},
            lambda x, source=source: x,
            lambda x, s=holder: s,
            functools.partial(max, source),
            holder,
            [nn.Sequential(nn.ReLU(), holder)],
        )
        for value in holding:
            assert Description(value).has_generator
    assert Description(draws_from_a_global).has_generator
    shared = [np.random.normal, random.random, torch.rand]  # noqa: NPY002
    for value in (draws_from_the_library, LINEAR, random, shared, RandomAffine(), 1):
        assert not Description(value).has_generator


# --- code of the user's ---------------------------------------------------------------


def run(source):
    """Run the code of a user's module; return what it calls ``value``."""
    module = types.ModuleType("users")
    exec(textwrap.dedent(source), vars(module))
    return module.value


CODE = {
    "global number": "S = {}\ndef value(x): return x * S",
    "global of an inner function": """
        S = {}
        def value(x): return [(lambda v: [v * S for v in x])(v) for v in x]
        """,
    "global dict": "S = dict(a=[{}])\ndef value(x): return x * S['a'][0]",
    "global array": """
        import numpy as np
        S = np.full(3, {})
        def value(x): return x * S
        """,
    "settings": """
        from dataclasses import dataclass
        @dataclass
        class Settings:
            scale: float
        S = Settings({})
        def value(x): return x * S.scale
        """,
    "helper": "def helper(x): return x * {}\ndef value(x): return helper(x)",
    "helper in a module": """
        import types
        helpers = types.ModuleType("helpers")
        helpers.inner = types.ModuleType("helpers.inner")
        exec("def scale(x): return x * {}", vars(helpers.inner))
        def value(x): return helpers.inner.scale(x)
        """,
    "helper in a cache": """
        import functools
        @functools.lru_cache
        def helper(x): return x * {}
        def value(x): return helper(x)
        """,
    "attribute of a function": """
        def value(x): return x * value.scale
        value.scale = {}
        """,
    "class behind a factory": """
        class Network:
            def forward(self, x): return x * {}
        def value(): return Network()
        """,
    "class attribute": "class value:\n    scale = {}",
    "static method": "class value:\n  @staticmethod\n  def f(x): return x * {}",
    "class method": "class value:\n  @classmethod\n  def f(cls, x): return x * {}",
    "property": "class value:\n  @property\n  def scale(self): return {}",
    "base class": """
        class Base:
            def f(self, x): return x * {}
        class value(Base): pass
        """,
    "class of an object": """
        class Scale:
            factor = {}
            def __call__(self, x): return x * self.factor
        value = Scale()
        """,
    "each other": """
        def odd(n): return n > 0 and even(n - 1)
        def even(n): return n == {} or odd(n - 1)
        value = odd
        """,
}
DATA = {"global number", "global of an inner function", "global dict", "global array"}
DATA |= {"settings", "class attribute", "class of an object"}


@pytest.mark.parametrize("case", CODE)
def test_code_counts_with_what_it_uses(case):
    source = CODE[case]
    first, same, other = (run(source.format(n)) for n in ("0.5", "0.5", "2.5"))
    assert Description(first).text == Description(same).text
    assert Description(first).text != Description(other).text
    alone = [Description(v, shared=False).text for v in (first, same, other)]
    assert alone[0] == alone[1]
    assert (alone[0] == alone[2]) == (case in DATA)


def test_globals_that_are_not_read_do_not_count():
    source = "S = {}\nimport numpy as np\ndef value(x): return x.S + np.sin(x)"
    texts = {Description(run(source.format(n))).text for n in range(2)}
    assert len(texts) == 1


def test_generators_are_found_in_what_code_uses():
    for source in (
        "def value(x): return [(lambda v: v + S.normal())(v) for v in x]",
        "def helper(x): return x + S.normal()\ndef value(x): return helper(x)",
        "class Noise:\n  def f(self, x): return S.normal()\ndef value(): Noise()",
        "class value:\n  source = S",
    ):
        made = "import numpy as np\nS = np.random.default_rng(0)\n"
        assert Description(run(made + source)).has_generator


def test_script_is_one_module_in_all_its_processes():
    function = run("def value(x): return x")
    function.__module__ = "__main__"
    text = Description(function).text
    function.__module__ = "__mp_main__"
    assert Description(function).text == text


def test_optimizer_class_is_the_same_before_and_after_its_first_use():
    class Mine(torch.optim.Optimizer):
        def __init__(self, params, lr=1.0):
            super().__init__(params, {"lr": lr})

        def step(self, closure=None):
            return None

    class Plain(Mine):
        pass

    for kind in (Mine, Plain, torch.optim.Rprop):
        before = Description(kind).text
        kind(LINEAR.parameters(), lr=0.1)
        assert Description(kind).text == before


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    "normalize",
    [
        nn.utils.spectral_norm,
        nn.utils.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.parametrizations.weight_norm,
    ],
)
def test_hooks_are_told_apart_by_what_they_do(normalize):
    def hooked(hook):
        module = seeded(lambda: normalize(nn.Linear(3, 2)))
        module.register_forward_hook(hook)
        return Description(module).text

    assert hooked(scale_output) == hooked(scale_output)  # with other keys
    assert hooked(scale_output) != hooked(print)


def scale_output(module, inputs, output):
    return output * 2


def test_frozen_weights_are_others():
    def frozen(i):
        network = seeded(lambda: nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)))
        network[i].requires_grad_(False)
        return Description(network).text

    assert frozen(0) == frozen(0) != frozen(1)


# --- what training changes beside weights ---------------------------------------------


class Counting(nn.Module):
    def __init__(self, start):
        super().__init__()
        self.n = start

    def forward(self, x):
        self.n = self.n + 1
        return x * self.n


class Keeping(Counting):
    def get_extra_state(self):
        return self.n

    def set_extra_state(self, state):
        self.n = state


class CountingObject:
    n = 0

    def __call__(self, x):
        self.n += 1
        return x * self.n


def counting_closure():
    n = 0

    def call(x):
        nonlocal n
        n += 1
        return x * n

    return call


def transforms():
    from kornia.augmentation import AugmentationSequential, ColorJiggle
    from torchvision.transforms import v2

    kornia = [ColorJiggle(0.1, 0.1), AugmentationSequential(ColorJiggle(0.1))]
    return [*kornia, v2.ColorJitter(0.1), v2.RandomErasing(p=1), RandomAffine()]


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_training_that_changes_weights_alone_is_told_from_others():
    x = torch.rand(4, 3, 8, 8)
    utils = nn.utils
    layers = [nn.BatchNorm2d(3), nn.Dropout(), nn.InstanceNorm2d(3, affine=True)]
    layers += [nn.Sequential(Keeping(0), nn.Conv2d(3, 3, 1)), *transforms()]
    layers += [
        normalize(nn.Conv2d(3, 3, 1))
        for normalize in (
            utils.spectral_norm,
            utils.weight_norm,
            utils.parametrizations.spectral_norm,
            utils.parametrizations.weight_norm,
        )
    ]
    beside = [Counting(0), nn.Sequential(nn.ReLU(), Counting(0.5))]
    beside += [Counting(torch.zeros(1)), CountingObject(), counting_closure()]
    for part in layers + beside:
        before = Description(part, learned=False).text
        out = part(x)
        parameters = list(getattr(part, "parameters", list)())
        if parameters:
            out.sum().backward()
            torch.optim.SGD(parameters, lr=0.1).step()
        if part in layers:
            part.eval()
        changed = Description(part, learned=False).text != before
        assert changed == any(part is other for other in beside), part
