"""Downloads of public sets: whole or not at all, once, and what is said when they fail.

They come from a server on this machine; nothing here touches another one.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from torchvision.datasets import MNIST

from sksiamese._registry import SETS
from sksiamese.datasets import fetch_images
from tests._publisher import (
    PUBLISH,
    Server,
    assert_is,
    digit_images,
    leave_home,
    medmnist_file,
    npz,
    publish_mnist,
    publish_omniglot,
    publish_pneumonia,
)


@pytest.fixture(autouse=True)
def _home(monkeypatch, tmp_path):
    leave_home(monkeypatch, tmp_path)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    yield server
    server.stop()


@pytest.fixture(params=PUBLISH)
def published(request, server, monkeypatch):
    """Name of a set that the server publishes, and what it holds."""
    return request.param, PUBLISH[request.param](server, monkeypatch)


def test_download_is_kept_and_not_repeated(published, server, tmp_path):
    name, expected = published
    cache = tmp_path / "new" / "cache"
    assert_is(fetch_images(name, data_home=cache), expected)
    assert [file.name for file in cache.iterdir()] == [SETS[name].file]
    server.stop()
    assert_is(fetch_images(name, data_home=cache), expected)
    assert_is(fetch_images(name, data_home=str(cache), download=False), expected)


def corrupt(server):
    for name, content in server.files.items():
        server.files[name] = content[:-9] + bytes(9)


def lose(server):
    server.files.clear()


def truncate(server):
    server.truncate = True


@pytest.mark.parametrize("fail", [corrupt, truncate, lose, Server.stop])
def test_failed_download_leaves_nothing_and_says_what_to_do(
    published, server, tmp_path, fail
):
    name, _ = published
    fail(server)
    with pytest.raises(FileNotFoundError) as caught:
        fetch_images(name, data_home=tmp_path / "cache")
    message = str(caught.value)
    assert caught.value.__cause__ is not None
    assert f"{SETS[name].title} could not be downloaded to data_home=" in message
    for part in (SETS[name].page, SETS[name].licence, str(tmp_path / "cache")):
        assert part in message
    assert list((tmp_path / "cache").iterdir()) == []


def test_download_after_a_truncated_one_succeeds(published, server, tmp_path):
    name, expected = published
    server.truncate = True
    with pytest.raises(FileNotFoundError):
        fetch_images(name, data_home=tmp_path)
    server.truncate = False
    assert_is(fetch_images(name, data_home=tmp_path), expected)


@pytest.fixture
def ctrl_c():
    """Let Ctrl-C interrupt, also in a test run that is in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_interrupted_download_leaves_nothing(published, server, tmp_path):
    name, _ = published

    def halfway():
        server.halfway = None
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)

    server.halfway = halfway
    with pytest.raises(KeyboardInterrupt):
        fetch_images(name, data_home=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_download_of_other_bytes_than_published_is_refused(
    server, monkeypatch, tmp_path
):
    publish_pneumonia(server, monkeypatch)
    images, labels = digit_images(30)
    other = npz(medmnist_file(255 - images, labels[:, None] % 2))
    server.files["files/pneumoniamnist.npz"] = other
    with pytest.raises(FileNotFoundError, match="corrupted"):
        fetch_images("pneumoniamnist", data_home=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_download_of_another_form_is_not_kept(server, monkeypatch, tmp_path):
    labels = np.full((10, 1), 2, dtype=np.uint8)
    publish_pneumonia(server, monkeypatch, val_labels=labels)
    with pytest.raises(FileNotFoundError, match="labels run from 0 to 2") as caught:
        fetch_images("pneumoniamnist", data_home=tmp_path / "cache")
    assert isinstance(caught.value.__cause__, ValueError)
    assert list((tmp_path / "cache").iterdir()) == []


# One process imports and forks the two, as importing anew takes seconds.
FETCH = """
import os, sys
from torchvision.datasets import MNIST
from sksiamese.datasets import fetch_images
home, mirror, *sums = sys.argv[1:]
MNIST.mirrors = [mirror]
MNIST.resources = [(n, new) for (n, _), new in zip(MNIST.resources, sums)]
fetching = []
for _ in range(2):
    fetching.append(os.fork())
    if not fetching[-1]:
        try:
            print(fetch_images("mnist", data_home=home).images.sum(), flush=True)
            os._exit(0)
        finally:
            os._exit(1)
assert [os.waitpid(process, 0)[1] for process in fetching] == [0, 0]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_that_download_at_once_both_succeed(
    server, monkeypatch, tmp_path
):
    expected = publish_mnist(server, monkeypatch)
    # No file is sent before both have asked for it.
    server.barrier = threading.Barrier(2, timeout=300)
    sums = [checksum for _, checksum in MNIST.resources]
    command = [sys.executable, "-c", FETCH, str(tmp_path / "cache"), server.url, *sums]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert [int(text) for text in done.stdout.split()] == [expected["images"].sum()] * 2
    assert [f.name for f in (tmp_path / "cache").iterdir()] == ["mnist.npz"]


def test_download_false_asks_nobody(published, server, tmp_path):
    name, _ = published
    with pytest.raises(FileNotFoundError, match="download=True would fetch it"):
        fetch_images(name, data_home=tmp_path / "cache", download=False)
    assert server.asked == []
    assert not (tmp_path / "cache").exists()


def test_download_to_an_impossible_folder_says_so(server, monkeypatch, tmp_path):
    publish_mnist(server, monkeypatch)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(FileNotFoundError, match="data_home=.*file/cache") as caught:
        fetch_images("mnist", data_home=tmp_path / "file" / "cache")
    assert isinstance(caught.value.__cause__, OSError)


def test_medmnist_missing_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "medmnist", None)
    command = re.escape('pip install "sksiamese[datasets]"')
    with pytest.raises(ImportError, match=command):
        fetch_images("bloodmnist", data_home=tmp_path)
    assert list(tmp_path.glob("*.npz")) == []


def test_shared_folder_is_never_written_to(server, monkeypatch, tmp_path):
    expected = publish_mnist(server, monkeypatch)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o555)
    monkeypatch.setenv("SKSIAMESE_DATA", str(shared))
    assert_is(fetch_images("mnist"), expected)
    assert list(shared.iterdir()) == []
    own = tmp_path / "home" / "sksiamese_data"
    assert [file.name for file in own.iterdir()] == ["mnist.npz"]
    shared.chmod(0o755)


@pytest.mark.parametrize("array, value, reason", [
    ("background_character", np.r_[[0] * 3, [2] * 9], "character run from 0 to 2"),
    ("evaluation_alphabet", np.full(12, 2), "alphabet run from 2 to 2, where 0 to 1"),
    ("evaluation_alphabet_names", None, "no array evaluation_alphabet_names"),
    ("background_packed", np.zeros((12, 1378), np.uint8), r"not \(12, 1379\)"),
])  # fmt: skip
def test_broken_omniglot_is_refused(
    server, monkeypatch, tmp_path, array, value, reason
):
    publish_omniglot(server, monkeypatch)
    fetch_images("omniglot", data_home=tmp_path)
    with np.load(tmp_path / "omniglot.npz") as arrays:
        arrays = dict(arrays) | {array: value}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    np.savez(tmp_path / "omniglot.npz", **arrays)
    with pytest.raises(ValueError, match=reason):
        fetch_images("omniglot", data_home=tmp_path)


def test_server_that_says_nothing_is_given_up(monkeypatch, tmp_path):
    medmnist = pytest.importorskip("medmnist")
    monkeypatch.setattr("sksiamese.datasets._TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.npz"
        facts = medmnist.INFO["breastmnist"] | {"url": url}
        monkeypatch.setitem(medmnist.INFO, "breastmnist", facts)
        with pytest.raises(FileNotFoundError, match="timed out"):
            fetch_images("breastmnist", data_home=tmp_path / "cache")
    assert socket.getdefaulttimeout() is None
    assert list((tmp_path / "cache").iterdir()) == []
