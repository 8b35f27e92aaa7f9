"""What a function's requirements.txt brings, compared with what the function imports on this machine."""

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence, Set
from functools import cache
from importlib.metadata import distributions, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LAMBDA = {"boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "simplejson", "six", "urllib3"}
"""The distributions in Lambda's runtime: boto3, and what it and the runtime client need."""


def missing(paths: Sequence[Path], *, files: Iterable[str], modules: Iterable[str]) -> list[str]:
    """Return the modules that `files` import and that neither Lambda nor the requirements files in `paths` have.

    `modules` are those that this Python's environment provides. The result is empty if the answer is unknown here, for
    example because a required distribution is not installed.
    """
    try:
        imported = {name for file in files for name in _imports(Path(file))} & set(modules)
        required = [requirement for path in paths for requirement in _required(path)]
        direct = LAMBDA | {canonicalize_name(requirement.name) for requirement in required}
        if all(canonicalize_name(name) in direct for name in imported):
            return []
        brought = LAMBDA | _closure(required)
        return sorted(name for name in imported if _providers().get(name, LAMBDA).isdisjoint(brought))
    except Exception:  # noqa: BLE001  # anything can be in these files and in the metadata of distributions
        return []


def _imports(file: Path) -> Iterator[str]:
    """Yield the top-level names of the modules that a file imports."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _required(path: Path) -> Iterator[Requirement]:
    """Yield what a requirements file names. Raises ValueError or LookupError for a line that names no distribution."""
    text = re.sub(r"\\\n|(?m:(^|\s)#.*)", " ", path.read_text(encoding="utf-8"))
    for line in filter(None, map(str.strip, text.splitlines())):
        if other := re.match(r"(?:-r|--requirement)[ =]*(.+)", line):
            yield from _required(path.parent / other[1])
        elif line.startswith((".", "/")):
            yield from _projects(path.parent, line)
        elif not line.startswith("--") or line.startswith("--editable"):
            yield Requirement(re.split(r"\s--", line)[0])


def _projects(folder: Path, path: str) -> Iterator[Requirement]:
    """Yield the project in a local folder. `path` is relative to the template's folder, which is above the code."""
    files = [parent / path / "pyproject.toml" for parent in (folder, *folder.parents)]
    projects = [tomllib.loads(file.read_text(encoding="utf-8")).get("project") for file in files if file.is_file()]
    if not any(projects):
        raise LookupError(path)
    yield from (Requirement(project["name"]) for project in projects if project)


def _closure(required: list[Requirement]) -> set[str]:
    """Return the names of the distributions and their dependencies. Raises ImportError if one is not installed."""
    found: set[tuple[str, str]] = set()
    pending = [(requirement, "") for requirement in required]
    while pending:
        requirement, wanted_by = pending.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": wanted_by}):
            continue
        for extra in ("", *requirement.extras):
            if (key := (str(canonicalize_name(requirement.name)), extra)) not in found:
                found.add(key)
                pending += [(Requirement(line), extra) for line in requires(requirement.name) or []]
    return {name for name, _ in found}


@cache
def _providers() -> dict[str, Set[str]]:
    """Return the names of the distributions that are installed here, by module."""
    # An editable installation has no list of its modules.
    own = {canonicalize_name(found.name).replace("-", "_"): [found.name] for found in distributions()}
    providers = (own | dict(packages_distributions())).items()
    return {module: {str(canonicalize_name(name)) for name in names} for module, names in providers}
