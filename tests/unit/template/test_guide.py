"""The docs name every parameter and alarm of the template, and its current deduplication window."""

import re
from typing import Final

from tests.support.paths import ROOT
from tests.support.templates import RECEIVER, deduplication_hours

GUIDE: Final = sorted((ROOT / "docs").rglob("*.md"))
TEXTS: Final = [
    ROOT / "README.md",
    *GUIDE,
    *(
        path
        for path in (ROOT / "examples").rglob("*")
        if path.suffix in {".md", ".py", ".yaml"} and ".aws-sam" not in path.parts
    ),
    *(ROOT / "src").rglob("*.py"),
]

PERIODS: Final = {
    6: "Lambda's longest time for an event in its queue",
    24: "EventBridge's retries, and OpenAI's overlap of two signing secrets",
    72: "OpenAI's retries",
    deduplication_hours(): "the receiver's deduplication window",
}
"""Hours that the docs may name."""


def test_guide_names_every_parameter() -> None:
    guide = "".join(page.read_text() for page in GUIDE)
    assert [name for name in RECEIVER.read()["Parameters"] if not re.search(rf"\b{name}\b", guide)] == []


def test_guide_has_row_for_every_alarm() -> None:
    table = (ROOT / "docs/guide/operate.md").read_text()
    assert [name for name in RECEIVER.defaults.of("CloudWatch::Alarm") if f"\n| `{name}` |" not in table] == []


def test_docs_name_only_known_hours() -> None:
    unknown = {
        f"{path.relative_to(ROOT)}:{number}: {hours} hours"
        for path in TEXTS
        if ".aws-sam" not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        for hours in re.findall(r"\b\d+(?= hours?\b| h\b)|(?<=`DeduplicationHours`, )\d+", line)
        if int(hours) not in PERIODS
    }

    assert not unknown, "\n".join(sorted(unknown))
