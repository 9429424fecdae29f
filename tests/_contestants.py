"""Contestants without a task, for tests of the contest.

Their processes load this file alone, which takes no time.
"""


def steady(figure):
    """Contestant that always plays the same figure."""
    return lambda: figure


def counting(first):
    """Contestant that counts its rounds."""
    state = {"rounds": first}

    def play():
        state["rounds"] += 1
        return state["rounds"]

    return play


def broken():
    """Contestant that is none."""
    raise RuntimeError("cannot be built")


def tiring():
    """Contestant that gives up after its warm-up."""
    rounds = iter([1.0])
    return lambda: next(rounds)
