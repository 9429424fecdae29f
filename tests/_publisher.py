"""A server on this machine that publishes small sets of images, for tests.

What it serves are genuine files in the publishers' formats, made of real digits.
"""

import gzip
import hashlib
import io
import struct
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.datasets import MNIST, Omniglot


class Server(ThreadingHTTPServer):
    """Serve ``files``; ``halfway`` is called in the middle of a transfer."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.files, self.asked = {}, []
        self.halfway = self.barrier = None
        self.truncate = False
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    def stop(self):
        if self.thread.is_alive():
            self.shutdown()
            self.server_close()
            self.thread.join()

    def handle_error(self, request, client_address):
        pass  # torchvision hangs up when it only looks for a redirect


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, name = self.server, self.path[1:].split("?")[0]
        server.asked.append(name)
        if name not in server.files:
            return self.send_error(404)
        if server.barrier:
            server.barrier.wait()
        content = server.files[name]
        half = len(content) // 2
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:half])
        if server.halfway:
            self.wfile.flush()
            server.halfway()
        if not server.truncate:
            self.wfile.write(content[half:])

    def log_message(self, *args):
        pass


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def digit_images(count):
    """Return handwritten digits, 28 x 28, with their labels."""
    X, y = load_digits(return_X_y=True)
    X = (X[:count].reshape(-1, 8, 8) * 15).astype(np.uint8)
    X = X.repeat(3, axis=1).repeat(3, axis=2)
    return np.pad(X, ((0, 0), (2, 2), (2, 2))), y[:count].astype(np.uint8)


def npz(arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def idx(array):
    """Write the format of MNIST's files."""
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.tobytes(), mtime=0)


def publish_mnist(server, monkeypatch):
    images, labels = digit_images(50)
    arrays = images[:30], labels[:30], images[30:], labels[30:]
    resources = []
    for (name, _), array in zip(MNIST.resources, arrays, strict=True):
        server.files[name] = idx(array)
        resources.append((name, md5(server.files[name])))
    monkeypatch.setattr(MNIST, "mirrors", [server.url])
    monkeypatch.setattr(MNIST, "resources", resources)
    return {
        "images": images,
        "target": labels,
        "split": ["train"] * 30 + ["test"] * 20,
        "target_names": list("0123456789"),
    }


def publish_omniglot(server, monkeypatch):
    """Alphabets of two characters by three drawers; the files are not in order."""
    images = digit_images(24)[0].repeat(3, axis=1).repeat(3, axis=2)
    images = np.pad(images, ((0, 0), (10, 11), (10, 11))) > 100
    alphabets = {"background": ["Zulu", "Arcadian"], "evaluation": ["Greek", "Angelic"]}
    sums, row, names = {}, 0, []
    for split, names_of_split in alphabets.items():
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for i in reversed(range(12)):
                name, character = names_of_split[i // 6], i % 6 // 3 + 1
                number, drawer = (row + i) // 3 + 1, i % 3 + 1
                png = io.BytesIO()
                Image.fromarray(~images[row + i]).save(png, "png")
                path = f"images_{split}/{name}/character{character:02d}"
                archive.writestr(
                    f"{path}/{number:04d}_{drawer:02d}.png", png.getvalue()
                )
        row += 12
        names += [f"{a}/character{c:02d}" for a in names_of_split for c in (1, 2)]
        server.files[f"images_{split}.zip"] = buffer.getvalue()
        sums[f"images_{split}"] = md5(buffer.getvalue())
    monkeypatch.setattr(Omniglot, "download_url_prefix", server.url.rstrip("/"))
    monkeypatch.setattr(Omniglot, "zips_md5", sums)
    return {
        "images": np.where(images, 0, 255),
        "target": np.arange(24) // 3,
        "target_names": names,
        "split": ["background"] * 12 + ["evaluation"] * 12,
        "alphabet": np.arange(24) // 6,
        "groups": np.arange(24) // 6,
        "alphabet_names": ["Zulu", "Arcadian", "Greek", "Angelic"],
        "character_in_alphabet": np.arange(24) % 6 // 3 + 1,
        "drawer": np.arange(24) % 3,
    }


def medmnist_file(images, labels):
    """Give arrays the published form: splits, a column of labels, no class names."""
    arrays = {}
    for split, rows in zip(
        ("train", "val", "test"), np.array_split(np.arange(len(images)), 3), strict=True
    ):
        arrays |= {f"{split}_images": images[rows], f"{split}_labels": labels[rows]}
    return arrays


def publish_pneumonia(server, monkeypatch, **changed):
    medmnist = pytest.importorskip("medmnist")
    images, labels = digit_images(30)
    labels = labels[:, None] % 2
    content = npz(medmnist_file(images, labels) | changed)
    server.files["files/pneumoniamnist.npz"] = content
    url = f"{server.url}files/pneumoniamnist.npz?download=1"
    facts = medmnist.INFO["pneumoniamnist"] | {"url": url, "MD5": md5(content)}
    monkeypatch.setitem(medmnist.INFO, "pneumoniamnist", facts)
    return {
        "images": images,
        "target": labels[:, 0],
        "target_names": ["normal", "pneumonia"],
        "split": ["train"] * 10 + ["val"] * 10 + ["test"] * 10,
    }


PUBLISH = {
    "mnist": publish_mnist,
    "omniglot": publish_omniglot,
    "pneumoniamnist": publish_pneumonia,
}


def assert_is(data, expected):
    for key, value in expected.items():
        np.testing.assert_array_equal(data[key], value, err_msg=key)
    assert data.images.dtype == np.uint8
    assert data.target.dtype == np.int64


def leave_home(monkeypatch, tmp_path):
    """Keep everything away from the folders of whoever runs the tests."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.delenv("SKSIAMESE_DATA", raising=False)
