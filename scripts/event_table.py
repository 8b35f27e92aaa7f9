"""The table of event types in docs/guide/subscribe.md. `make generate` writes it, with cog: https://cog.readthedocs.io"""

from collections.abc import Iterable

from pydantic import BaseModel

from openai_webhooks import CATALOG


def event_table() -> str:
    """Return a table of the event types. Types with the same prefix and the same data share a row."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for event_type in CATALOG:
        prefix, _, name = event_type.rpartition(".")
        data: type[BaseModel] = CATALOG[event_type].model_fields["data"].annotation  # type: ignore[assignment]  # a model
        fields = data.model_fields.items()
        required = _code(name for name, field in fields if field.is_required())
        optional = _code(name for name, field in fields if not field.is_required())
        rows.setdefault((f"`{prefix}.`", required, optional), []).append(name)
    return _table(
        ("prefix", "types", "fields of `data`", "optional fields"),
        *((prefix, _code(names), required, optional) for (prefix, required, optional), names in rows.items()),
    )


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(header: tuple[str, ...], *rows: tuple[str, ...]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ("---",) * len(header), *rows])
