"""The size of the built artefact by package, and whether it keeps to its budget.

`make size`. Fails over the budget, and on anything in the artefact that a delivery doesn't need.
"""

import sys
from collections.abc import Mapping
from importlib.metadata import distributions
from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile

from rich.console import Console
from rich.table import Table

ARTEFACT = Path(__file__).resolve().parents[1] / ".aws-sam/build/ReceiverFunction"


class Size(NamedTuple):
    """In bytes."""

    unpacked: int
    zipped: int


# Lambda fetches the zip and unpacks it before it starts an instance. A tenth above what it was when this was written:
# room for the libraries to grow, but not for another one.
BUDGET = Size(unpacked=22_800_000, zipped=8_600_000)

NEEDED = {
    *("receiver", "openai_webhooks", "requirements.txt"),
    # src/requirements.txt
    *("aws-lambda-powertools", "boto3", "pydantic"),
    # what these need in their turn
    *("annotated-types", "botocore", "jmespath", "pydantic-core", "python-dateutil", "s3transfer", "six"),
    *("typing-extensions", "typing-inspection", "urllib3"),
}
"""All that a delivery needs."""


def measure(artefact: Path) -> tuple[dict[str, Size], Size]:
    """Each package's size, and the total, in which the zip's own directory is counted too."""
    owners = {
        file.parts[0]: distribution.name.replace("_", "-").lower()
        for distribution in distributions(path=[str(artefact)])
        for file in distribution.files or []
    }
    packages: dict[str, Size] = {}
    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED) as archive:
        for path in sorted(path for path in artefact.rglob("*") if path.is_file()):
            file = path.relative_to(artefact)
            archive.write(path, file)
            # The bytecode of six.py lies in a folder of its own.
            top = f"{file.name.partition('.')[0]}.py" if file.parts[0] == "__pycache__" else file.parts[0]
            name = owners.get(top, top)
            unpacked, zipped = packages.get(name, Size(0, 0))
            info = archive.getinfo(file.as_posix())
            packages[name] = Size(unpacked + info.file_size, zipped + info.compress_size)
    return packages, Size(sum(size.unpacked for size in packages.values()), len(buffer.getvalue()))


def problems(packages: Mapping[str, Size], total: Size) -> list[str]:
    """What is wrong with an artefact that is made up like this, and what to do."""
    return [
        f"{name} is in the artefact, and no delivery needs it: take it out of src/ or src/requirements.txt"
        for name in sorted(packages.keys() - NEEDED)
    ] + [
        f"{_mb(size)} MB {what} are over the budget of {_mb(budget)} MB"
        for what, size, budget in zip(Size._fields, total, BUDGET, strict=True)
        if size > budget
    ]


def main() -> None:
    artefact = Path(sys.argv[1]) if sys.argv[1:] else ARTEFACT
    packages, total = measure(artefact)
    if not packages:
        sys.exit(f"There is nothing in {artefact}: run `make build`")
    table = Table("package", box=None)
    for what in Size._fields:
        table.add_column(f"{what}, MB", justify="right")
    by_size = sorted(packages.items(), key=lambda package: package[1], reverse=True)
    for name, size in [*by_size, ("total", total), ("budget", BUDGET)]:
        table.add_row(name, *map(_mb, size))
    Console().print(table)
    if found := problems(packages, total):
        sys.exit("\n".join(found))


def _mb(size: int) -> str:
    return f"{size / 1_000_000:.2f}"


if __name__ == "__main__":
    main()
