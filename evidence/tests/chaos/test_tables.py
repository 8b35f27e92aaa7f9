from evidence.chaos import tables


def test_run_fails_for_each_finding() -> None:
    found = {
        "violations": {"lost": 2, "forged": 0},
        "copies": {"wrong": 1},
        "mutants": {"never_claim": {"by": "", "invocations": 9}, "never_record": {"by": "stuck", "invocations": 9}},
    }
    assert tables.failures(found) == ["2 lost", "1 trials with copies", "not detected: never claims a delivery"]
