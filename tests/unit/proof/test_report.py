"""docs/reliability.md says what the run has measured."""

import json

from proof import report


def test_the_document_has_the_figures_of_the_file() -> None:
    document = report.DOCUMENT.read_text()
    for table in report.markdown(json.loads(report.FIGURES.read_text())):
        assert table in document


def test_a_run_fails_by_what_it_found() -> None:
    figures = {
        "violations": {"lost": 2, "forged": 0},
        "copies": {"wrong": 1},
        "mutants": {"never claims": {"by": "", "invocations": 9}, "never records": {"by": "stuck", "invocations": 9}},
    }
    assert report.faults_found(figures) == ["2 lost", "1 of the copies' trials", "not caught: never claims"]
