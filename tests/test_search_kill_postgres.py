"""Fifty processes killed while they add to a gallery in PostgreSQL."""

import os
import subprocess
import sys

import numpy as np
import pytest

from sksiamese.search import Gallery

N_KILLS, BATCH, DIM = 50, 100, 16

# A process of its own forks the victims, as forking pytest with its threads would not
# be safe, and importing anew takes seconds. Each victim adds until it is killed; after
# each add that returned it writes the number of that batch to a pipe.
ZYGOTE = f"""
import os, random, signal, sys, time
import numpy as np
from sksiamese.search import Gallery

BATCH, DIM = {BATCH}, {DIM}

def live(dsn, victim, pipe):
    gallery = Gallery(None, dsn, name="kill")
    os.write(pipe, b"open\\n")
    batch = 0
    while True:
        tag = 1000 * victim + batch
        Z = np.full((BATCH, DIM), tag)
        gallery.add(Z, metadata={{"batch": [tag] * BATCH}})
        os.write(pipe, b"%d\\n" % batch)
        batch += 1

random.seed(int(sys.argv[2]))
for number in range({N_KILLS}):
    reader, writer = os.pipe()
    victim = os.fork()
    if not victim:
        try:
            live(sys.argv[1], number, writer)
        finally:
            os._exit(1)
    os.close(writer)
    pipe = os.fdopen(reader)
    assert pipe.readline() == "open\\n"
    time.sleep(random.uniform(0, 0.1))
    os.kill(victim, signal.SIGKILL)
    returned = len(pipe.readlines())
    status = os.waitpid(victim, 0)[1]
    # Opened by the same calls as the user's, and looked at in every part. The first
    # change waits for the server to be done with what the victim left.
    gallery = Gallery(None, sys.argv[1], name="kill")
    (marker,) = gallery.add(np.zeros((1, DIM)), metadata=[{{"batch": -1}}])
    gallery.remove([marker])
    ids, Z, tags = gallery._store.labelled("batch")
    assert len(ids) == len(gallery) == len(set(ids.tolist())), "ids"
    assert (Z == np.array(tags)[:, None]).all(), "embeddings"
    batches = [t % 1000 for t in tags if t // 1000 == number]
    whole = sorted(batches) == [i // BATCH for i in range(len(batches))]
    gallery.close()
    print(status, returned, len(batches) / BATCH, whole, len(ids), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_gallery_of_processes_killed_at_any_moment_holds_all_that_was_added(postgres):
    done = subprocess.run(
        [sys.executable, "-c", ZYGOTE, postgres, "0"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) == N_KILLS
    total, n_returned = 0, 0
    for status, returned, found, whole, n_items in rows:
        assert status == "9"  # killed, and no error before
        # One add more may have been committed without the time to report it.
        assert float(found) in (int(returned), int(returned) + 1)
        assert whole == "True"  # each batch once and complete
        total, n_returned = total + int(float(found)), n_returned + int(returned)
        assert int(n_items) == BATCH * total
    assert n_returned >= N_KILLS / 2  # kills hit processes at work
    print(f"{N_KILLS} killed, {n_returned} adds reported, {total} found, each complete")
    with Gallery(None, postgres, name="kill") as gallery:
        assert len(gallery) == BATCH * total
        gallery.add(np.zeros((1, DIM)))
