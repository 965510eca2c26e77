"""House rules behind verdicts: how far is far enough, which no statistics can say. A spec's `verdicts` names them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from einfluence.recipe import Float, Model

Part = Annotated[Float, Field(gt=0, le=1)]


class Rules(Model):
    """What an interval must reach before a verdict says so. Values and intervals do not depend on it."""

    share: Part = Field(default=0.25, description="of the way from start to ideal: where `met` begins")
    least: Annotated[Float, Field(gt=0)] = Field(
        default=0.1, description="beyond the start, in the desideratum's own unit, where no ideal is stated"
    )
    left: Part = Field(
        default=0.1, description="of the start: most that may be left of leakage (beside what was learned) and of cost"
    )
    apart: Part = Field(
        default=0.1, description="of the way from null to ideal: the least difference between two arms that counts"
    )

    def rows(self) -> list[dict[str, object]]:
        """A row a rule, as the store keeps them: its name, its value and what it says."""
        fields = Rules.model_fields
        return [{"rule": name, "value": getattr(self, name), "note": fields[name].description} for name in fields]

    def times(self, factor: float) -> Rules:
        """All rules times a factor; a part of a way is never more than the whole."""
        changed = {name: getattr(self, name) * factor for name in Rules.model_fields}
        return Rules(**{name: value if name == "least" else min(value, 1.0) for name, value in changed.items()})
