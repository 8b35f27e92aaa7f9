"""docs/guide/commands.md lists what the commands can print."""

import re

from tests.support.paths import ROOT


def test_guide_lists_codes_of_doctor() -> None:
    source = "".join(path.read_text() for path in (ROOT / "cli/src/openai_webhooks_cli/commands").glob("*.py"))
    codes = set(re.findall(r"\"([EW]_[A-Z_]+)\"", source))
    rows = re.findall(r"^\| (`[EW]_.*?) \|", (ROOT / "docs/guide/commands.md").read_text(), re.MULTILINE)

    assert codes
    assert codes == set(re.findall(r"`([EW]_[A-Z_]+)`", "".join(rows)))
