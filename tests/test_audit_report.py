"""The report of an audit says what each check said, and nothing else."""

import numpy as np
import pytest

from sksiamese._audit_report import AuditReport
from sksiamese._pair_protocol import read_protocol
from sksiamese.pairs import Finding


@pytest.fixture
def report():
    return AuditReport(read_protocol(([[0, 1], [1, 2]], [1, 0]), ([[3, 4]], [1])))


def test_finding_prints_without_its_rows():
    finding = Finding("self_pairs", "one", 1, np.arange(1000))
    assert repr(finding) == "Finding(name='self_pairs', detail='one', count=1)"


def test_report_of_passed_checks_is_ok(report):
    report.passed("self_pairs", "no pairs of one image")
    audit = report.result()
    assert audit.ok and audit.findings == () and audit.skipped == {}
    assert np.isnan(audit.shortcut_auc)
    lines = audit.report.splitlines()
    assert lines[0] == "Audit of a pair protocol: nothing found"
    assert lines[1].split() == "training pairs: 2 (50.0% same) of 3 images".split()
    assert lines[2].split() == "test pairs: 1 (100.0% same) of 2 images".split()
    assert lines[3].split() == "ok self_pairs no pairs of one image".split()


def test_report_of_skipped_check_is_ok_and_says_why(report):
    report.skip("shortcut", "images were not given")
    audit = report.result()
    assert audit.ok and audit.skipped == {"shortcut": "images were not given"}
    assert "not checked: images were not given" in repr(audit)


def test_report_of_undecided_check_says_so_in_its_verdict(report):
    report.undecided("shortcut", "too few pairs")
    audit = report.result()
    assert audit.ok and audit.skipped == {"shortcut": "too few pairs"}
    assert audit.report.startswith(
        "Audit of a pair protocol: nothing found, shortcut undecided"
    )


@pytest.mark.parametrize(("n", "verdict"), [(1, "1 finding"), (2, "2 findings")])
def test_report_of_findings_counts_them_and_keeps_rows(report, n, verdict):
    for k in range(n):
        report.found(f"check_{k}", "some rows", 2, [k, k + 1])
    audit = report.result()
    assert not audit.ok
    assert audit.report.splitlines()[0] == f"Audit of a pair protocol: {verdict}"
    for k, finding in enumerate(audit.findings):
        assert (finding.name, finding.count) == (f"check_{k}", 2)
        assert finding.rows.dtype == np.int64 and finding.rows.tolist() == [k, k + 1]


def test_report_wraps_long_text_below_itself(report):
    report.found("shared_images", "word " * 40, 3)
    lines = report.result().report.splitlines()
    assert max(map(len, lines)) <= 88
    assert all(line.startswith(" " * 32 + "word") for line in lines[4:])
    assert " ".join(lines[3:]).split()[2:] == ["word"] * 40
