"""The generated tables are complete. `make lint` checks that the pages contain them."""

from openai_webhooks import CATALOG
from openai_webhooks_cli.docs import event_table


def test_event_table_has_every_type() -> None:
    types = [
        prefix.strip("`") + name.strip("`") for prefix, names, *_ in _rows(event_table()) for name in names.split(", ")
    ]

    assert sorted(types) == sorted(CATALOG)


def test_event_table_has_fields_of_data() -> None:
    (row,) = (row for row in _rows(event_table()) if row[0] == "`safety_identifier.`")

    assert row[2:] == ["`safety_category`, `safety_identifier`", "`model`, `project_id`, `request_id`"]


def _rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
