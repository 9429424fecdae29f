"""Processes killed while they save a gallery to a file, or saving all at once."""

import os
import subprocess
import sys

import numpy as np
import pytest

from sksiamese.search import Gallery

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
N_KILLS, BATCH, DIM = 50, 400, 16
N_SAVERS, N_EACH = 4, 12

# A process of its own forks the victims, as forking pytest with its threads would not
# be safe, and importing anew takes seconds. Each victim adds and saves until it is
# killed; after each save that returned it writes the number of items to a pipe.
ZYGOTE = f"""
import os, random, signal, sys, time
import numpy as np
from sksiamese.search import Gallery

BATCH, DIM = {BATCH}, {DIM}

def embed(first):
    Z = np.zeros((BATCH, DIM))
    Z[:, 0] = np.arange(first, first + BATCH)
    return Z

def live(path, pipe):
    gallery = Gallery(None, path)
    os.write(pipe, b"open\\n")
    while True:
        first = len(gallery)
        names = [f"item {{i}}" for i in range(first, first + BATCH)]
        gallery.add(embed(first), names, {{"batch": [first // BATCH] * BATCH}})
        gallery.save()
        os.write(pipe, b"%d\\n" % len(gallery))

def check(path):
    # Opened by the same calls as the user's, and looked at in every part.
    if not os.path.exists(path):
        return 0
    gallery = Gallery(None, path)
    n = len(gallery)
    ids = gallery.ids.tolist()
    Z, metadata = gallery.get(ids)
    assert ids == [f"item {{i}}" for i in range(n)], "ids"
    assert (Z[:, 0] == np.arange(n)).all() and not Z[:, 1:].any(), "embeddings"
    assert metadata == [{{"batch": i // BATCH}} for i in range(n)], "metadata"
    return n

random.seed(int(sys.argv[2]))
for _ in range({N_KILLS}):
    reader, writer = os.pipe()
    victim = os.fork()
    if not victim:
        try:
            live(sys.argv[1], writer)
        finally:
            os._exit(1)
    os.close(writer)
    pipe = os.fdopen(reader)
    assert pipe.readline() == "open\\n"
    wait = random.uniform(0, 0.15)
    time.sleep(wait)
    os.kill(victim, signal.SIGKILL)
    saved = [int(line) for line in pipe]
    status = os.waitpid(victim, 0)[1]
    folder = os.listdir(os.path.dirname(sys.argv[1]))
    left = sum(name.endswith(".tmp") for name in folder)
    found = check(sys.argv[1])
    print(status, saved[-1] if saved else -1, len(saved), found, left, flush=True)
"""


RACE = f"""
import os, sys
import numpy as np
from sksiamese.search import Gallery

def live(path, name):
    done = lost = 0
    while done < {N_EACH}:
        gallery = Gallery(None, path)
        gallery.add(np.ones((1, {DIM})), [f"{{name}} {{done}}"])
        try:
            gallery.save()
            done += 1
        except ValueError as error:
            assert "Another process has saved" in str(error), error
            lost += 1
        gallery._closer.detach()
    os.write(1, b"%d\\n" % lost)

victims = []
for name in range({N_SAVERS}):
    victims.append(os.fork())
    if not victims[-1]:
        try:
            live(sys.argv[1], name)
            os._exit(0)
        finally:
            os._exit(1)
assert [os.waitpid(victim, 0)[1] for victim in victims] == [0] * {N_SAVERS}
"""


def run(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [list(map(int, line.split())) for line in done.stdout.splitlines()]


def test_gallery_of_processes_killed_at_any_moment_holds_all_that_was_saved(tmp_path):
    path = tmp_path / "x.gallery"
    rows = run(ZYGOTE, path, "0")
    assert len(rows) == N_KILLS
    before, half_written, n_saves = 0, 0, 0
    for status, reported, count, found, left in rows:
        assert status == 9  # killed, and no error before
        committed = max(before, reported)
        # One save more may have come to its end without the time to report it.
        assert found in (committed, committed + BATCH)
        assert left <= 1  # the next save has removed what others left
        before, half_written, n_saves = found, half_written + left, n_saves + count
    assert half_written >= 5  # kills do hit saves
    assert n_saves >= N_KILLS
    print(
        f"{N_KILLS} killed, {n_saves} saves reported, {before} items,"
        f" {half_written} killed while writing"
    )
    with Gallery(None, path) as gallery:
        gallery.add(np.zeros((1, DIM)), ["last"])
    assert os.listdir(tmp_path) == ["x.gallery"]
    assert len(Gallery(None, path)) == before + 1


def test_gallery_of_processes_that_save_at_once_loses_nothing(tmp_path):
    """Whoever comes second gets the error, opens the file anew and tries again."""
    path = tmp_path / "x.gallery"
    lost = [row[0] for row in run(RACE, path)]
    assert len(lost) == N_SAVERS
    assert sum(lost) > 0
    wanted = {f"{name} {i}" for name in range(N_SAVERS) for i in range(N_EACH)}
    ids = Gallery(None, path).ids.tolist()
    assert len(ids) == len(wanted)
    assert set(ids) == wanted
    assert os.listdir(tmp_path) == ["x.gallery"]
