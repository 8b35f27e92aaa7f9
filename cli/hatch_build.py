"""Adds the core to the wheel, so that `pip install` of this folder needs nothing else of the repository."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class AddCore(BuildHookInterface):  # type: ignore[type-arg]
    """An editable installation uses the core of the checkout instead."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"]["../src/openai_webhooks"] = "openai_webhooks"
