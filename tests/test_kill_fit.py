"""Processes killed while they train with checkpoints, or training all at once."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
N_KILLS, N_EPOCHS, N_AT_ONCE = 50, 6, 3

# A process of its own forks the victims, as forking pytest with its threads would not
# be safe, and importing anew takes seconds, as does the first step of an optimizer. A
# victim tells each epoch that it begins, and at its end the checksum of embeddings,
# probabilities and losses. It runs on one thread, as it has to after a fork.
ZYGOTE = f"""
import hashlib, json, os, random, shutil, signal, sys, time
import numpy as np
import torch
from sklearn.datasets import load_digits
from skorch.callbacks import Callback
from sksiamese import SiameseClassifier

torch.set_num_threads(1)
X, y = load_digits(return_X_y=True)
X = X.reshape(-1, 8, 8).astype(np.uint8)
X, y, X_new = X[:200], y[:200], X[1500:]
folder = sys.argv[1]

class Tell(Callback):
    pipe = None

    def state_dict(self):
        return {{}}

    def load_state_dict(self, state):
        pass

    def on_epoch_begin(self, net, **kwargs):
        os.write(Tell.pipe, b"%d\\n" % len(net.history))

def live(checkpoint_dir, pipe):
    Tell.pipe = pipe
    torch.set_num_threads(1)
    clf = SiameseClassifier(
        max_epochs={N_EPOCHS}, batch_size=64, early_stopping=True, n_iter_no_change=99,
        loss="logistic", random_state=0, callbacks=[Tell()],
        checkpoint_dir=checkpoint_dir,
    ).fit(X, y)
    Z, P = clf.transform(X_new), clf.predict_proba(X_new)
    losses = json.dumps(clf.history_["loss"]).encode()
    answer = hashlib.sha256(Z.tobytes() + P.tobytes() + losses).hexdigest()
    os.write(pipe, f"{{answer}}\\n".encode())

def start(checkpoint_dir):
    reader, writer = os.pipe()
    victim = os.fork()
    if not victim:
        try:
            live(checkpoint_dir, writer)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    return victim, reader

def end(victim, reader):
    with os.fdopen(reader) as pipe:
        lines = pipe.read().split()
    epochs = [int(line) for line in lines if len(line) < 64]
    answers = [line for line in lines if len(line) == 64]
    return os.waitpid(victim, 0)[1], epochs, answers

live(folder + " to warm up", os.open(os.devnull, os.O_WRONLY))

def files():
    return sorted(os.listdir(folder)) if os.path.exists(folder) else []
"""

KILLS = f"""
def wait_for_writing(most):
    until = time.monotonic() + most
    while time.monotonic() < until:
        if any(name.endswith(".tmp") for name in files()):
            break

began = time.monotonic()
answer = end(*start(folder))
duration = time.monotonic() - began
print(json.dumps([*answer, [], []]))
shutil.rmtree(folder)
rng = random.Random(0)
n_killed, done = 0, False
while n_killed < {N_KILLS} or not done:
    before = files()
    victim, reader = start(folder)
    if n_killed < {N_KILLS}:
        time.sleep(rng.uniform(0, duration))
        if rng.random() < 0.3:
            wait_for_writing(duration / 2)
            time.sleep(rng.uniform(0, 0.003))
        os.kill(victim, signal.SIGKILL)  # a zombie, if it has ended
    status, epochs, answers = end(victim, reader)
    n_killed += status == signal.SIGKILL
    done = status == 0
    print(json.dumps([status, epochs, answers, before, files()]), flush=True)
    if done:
        shutil.rmtree(folder)
"""

AT_ONCE = f"""
for ending in [end(*victim) for victim in [start(folder) for _ in range({N_AT_ONCE})]]:
    print(json.dumps([*ending, [], files()]))
"""


def run(code, folder):
    done = subprocess.run(
        [sys.executable, "-c", ZYGOTE + code, folder], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_fits_killed_at_any_moment_end_as_one_that_was_not(tmp_path):
    (status, epochs, [answer], _, _), *rows = run(KILLS, tmp_path / "training")
    assert status == 0
    assert epochs == [*range(1, N_EPOCHS + 1)]
    counts = dict.fromkeys(("killed", "writing", "resumed", "clean", "whole"), 0)
    whole = 0  # epochs of this training that are known to be kept
    for status, epochs, answers, before, after in rows:
        assert status in (0, 9)  # killed, and no error before
        left = [name for name in after if name.endswith(".tmp")]
        assert len(left) <= 1  # the next fit has removed what others left
        known = {"training.checkpoint", ".training.checkpoint.lock", *left}
        assert set(after) <= known
        counts["killed"] += status == 9
        counts["writing"] += bool(left)
        if epochs:
            # All epochs in turn, from the first that was not kept before.
            assert epochs == [*range(epochs[0], epochs[0] + len(epochs))]
            assert epochs[0] in (whole + 1, whole + 2)
            counts["resumed" if epochs[0] > 1 else "clean"] += 1
            assert ("training.checkpoint" in before) or epochs[0] == 1
            whole = epochs[-1] - 1
        if status == 0:
            assert answers == [answer]  # bit for bit
            assert after == ["training.checkpoint"]
            counts["whole"] += 1
            whole = 0
    print(
        f"{counts['killed']} killed, {counts['writing']} of them while writing;"
        f" {counts['resumed']} times resumed, {counts['clean']} times begun anew,"
        f" {counts['whole']} whole trainings, all the same"
    )
    assert counts["killed"] == N_KILLS
    assert counts["writing"] >= 3  # kills do hit writers
    assert counts["resumed"] >= 10
    assert counts["whole"] >= 3


def test_fits_at_once_train_once(tmp_path):
    """The second waits for the first, and finds the training done."""
    rows = run(AT_ONCE, tmp_path / "training")
    assert [row[0] for row in rows] == [0] * N_AT_ONCE
    assert len({row[2][0] for row in rows}) == 1
    assert sorted(row[1] for row in rows) == [[], [], [*range(1, N_EPOCHS + 1)]]
    assert rows[-1][-1] == ["training.checkpoint"]
