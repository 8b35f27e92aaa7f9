"""The picture of the demo."""

from pathlib import Path
from xml.etree import ElementTree as ET

from rich.text import Text

from openai_webhooks_cli.local.demo import _save_svg


def test_picture_loads_nothing_from_other_servers(tmp_path: Path) -> None:
    _save_svg(tmp_path / "demo.svg", [Text("Passed", "green")])
    picture = (tmp_path / "demo.svg").read_text()

    assert "Passed" in "".join(ET.fromstring(picture).itertext())
    assert "url(http" not in picture.replace('"', "")
