"""What an audit of pairs found, and its report (layer 0: NumPy only)."""

import textwrap
from dataclasses import dataclass, field

import numpy as np

_WIDTH = 88


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a pair protocol.

    ``detail`` is the sentence of the report; ``rows`` are for dropping, or looking at,
    what it speaks of.

    Parameters
    ----------
    name : str
        Name of the check, see :func:`audit_pairs`.

    detail : str
        What was found, for people.

    count : int
        How many images, groups or pairs it concerns.

    rows : int64 ndarray
        The images it concerns, where these are named by their rows in ``images`` or
        ``groups``: test images of ``"shared_images"``; pairs ``(training image, test
        image)`` of duplicates. Rows of pairs, training pairs first, of checks of pairs.
        Empty otherwise.

    See Also
    --------
    audit_pairs : Finds them.
    PairAudit : Holds them.

    Examples
    --------
    >>> from sksiamese.pairs import audit_pairs
    >>> train, test = [[0, 1], [2, 3], [3, 2]], [[4, 5], [5, 6]]
    >>> (finding,) = audit_pairs(train, [1, 0, 0], test, [0, 1]).findings
    >>> finding.name, finding.detail
    ('mirrored_pairs', '1 training and 0 test pairs occur before with their members...')
    >>> finding.rows
    array([2])
    """

    name: str
    detail: str
    count: int
    rows: np.ndarray = field(repr=False)


@dataclass(frozen=True, repr=False)
class PairAudit:
    """Result of :func:`audit_pairs`.

    Print it to read the report. In a script, look at ``skipped`` beside ``ok``: a check
    that was not made, as for want of images, does not make ``ok`` false.

    Read more in the :ref:`User Guide <guide-pitfalls>`.

    Parameters
    ----------
    ok : bool
        Whether nothing was found.

    findings : tuple of Finding
        What was found.

    shortcut_auc : float
        How well the label of a test pair is told from simple statistics of one of its
        members, 0.5 being chance; NaN if that was not measured.

    skipped : dict of str to str
        Checks that were not made, or that could not decide, and why.

    report : str
        All checks and what they found, as printed.

    See Also
    --------
    audit_pairs : Makes it.
    Finding : One thing that is wrong.

    Examples
    --------
    >>> from sksiamese.pairs import audit_pairs
    >>> train, test = [[0, 1], [0, 2], [2, 3]], [[4, 5], [5, 6]]
    >>> audit = audit_pairs(train, [1, 0, 1], test, [1, 0])
    >>> audit.ok
    True
    >>> audit.skipped["near_duplicate_images"]
    'images were not given'
    >>> print(audit)
    Audit of a pair protocol: nothing found
      training pairs: 3 (66.7% same) of 4 images
      ...
    """

    ok: bool
    findings: tuple
    shortcut_auc: float
    skipped: dict
    report: str

    def __repr__(self):
        return self.report


class AuditReport:
    """Collect what the checks of an audit say.

    Parameters
    ----------
    protocol : Protocol
        The pairs.

    Attributes
    ----------
    skipped : dict of str to str
        Checks that were not made, or that could not decide, and why.

    shortcut_auc : float
        See :class:`PairAudit`; NaN until it is set.
    """

    def __init__(self, protocol):
        self._protocol = protocol
        self._findings, self._lines, self._undecided = [], [], []
        self.skipped = {}
        self.shortcut_auc = float("nan")

    def passed(self, name, detail):
        """Note a check that found nothing.

        Parameters
        ----------
        name : str
            Name of the check.

        detail : str
            What it looked at, for people.
        """
        self._lines.append(("ok", name, detail))

    def found(self, name, detail, count, rows=()):
        """Note a finding.

        Parameters
        ----------
        name : str
            Name of the check.

        detail : str
            What was found, for people.

        count : int
            How many images, groups or pairs it concerns.

        rows : sequence of int, default=()
            See :class:`Finding`.
        """
        rows = np.asarray(rows, dtype=np.int64)
        self._findings.append(Finding(name, detail, int(count), rows))
        self._lines.append(("FOUND", name, detail))

    def skip(self, name, reason):
        """Note a check that could not be made.

        Parameters
        ----------
        name : str
            Name of the check.

        reason : str
            Why not.
        """
        self.skipped[name] = reason
        self._lines.append(("-", name, f"not checked: {reason}"))

    def undecided(self, name, reason):
        """Note a check that could not decide.

        Parameters
        ----------
        name : str
            Name of the check.

        reason : str
            Why not.
        """
        self.skipped[name] = reason
        self._undecided.append(name)
        self._lines.append(("?", name, f"undecided: {reason}"))

    def result(self):
        """Put it all together.

        Returns
        -------
        PairAudit
            What was found, and the report.
        """
        n = len(self._findings)
        verdict = f"{n} finding{'s' * (n != 1)}" if n else "nothing found"
        verdict += "".join(f", {name} undecided" for name in self._undecided)
        lines = [f"Audit of a pair protocol: {verdict}"]
        protocol = self._protocol
        for name, pairs, same, used in zip(
            ("training", "test"),
            protocol.pairs,
            protocol.same,
            protocol.used(),
            strict=True,
        ):
            what = f"{len(pairs):,} ({same.mean():.1%} same) of {len(used):,} images"
            lines.append(f"  {name + ' pairs:':15} {what}")
        for status, name, detail in self._lines:
            wrapped = textwrap.wrap(detail, _WIDTH - 33)
            lines.append(f"  {status:6} {name:22} {wrapped[0]}")
            lines.extend(" " * 32 + line for line in wrapped[1:])
        return PairAudit(
            not n,
            tuple(self._findings),
            self.shortcut_auc,
            self.skipped,
            "\n".join(lines),
        )
