"""What Grafana's own types say of a dashboard. Needs grafana-foundation-sdk, which publishes them for Python."""

import enum
import json
import types
import typing
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.cog.runtime import panelcfg_config
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

register_default_plugins()
UNITS = {value for name, value in vars(units).items() if name in units.__annotations__}


def mistakes(written: dict[str, Any]) -> list[str]:
    """All that Grafana does not know in a dashboard, each with its place in it."""
    dashboard = Dashboard.from_json(written)
    kept = json.loads(JSONEncoder().encode(dashboard))
    return [*missing(kept, written), *unknown(written), *misfits(dashboard, "")]


def missing(whole: Any, part: Any, place: str = "") -> Iterator[str]:
    """What of `part` is not in `whole`: the types have dropped fields that they do not name."""
    if isinstance(part, dict) and isinstance(whole, dict):
        for name, value in part.items():
            if name in whole:
                yield from missing(whole[name], value, f"{place}.{name}")
            else:
                yield f"{place}.{name}"
    elif isinstance(part, list) and isinstance(whole, list):
        for index, (found, value) in enumerate(zip(whole, part, strict=True)):
            yield from missing(found, value, f"{place}[{index}]")
    elif whole != part:
        yield place


def unknown(written: dict[str, Any]) -> Iterator[str]:
    """Kinds of panel and units that Grafana does not come with; the types take any text there."""
    for panel in written["panels"]:
        if panelcfg_config(panel["type"]) is None:
            yield f"type {panel['type']}"
        if panel["fieldConfig"]["defaults"]["unit"] not in UNITS:
            yield f"unit {panel['fieldConfig']['defaults']['unit']}"


def misfits(thing: Any, place: str) -> Iterator[str]:
    """Values of another type than declared, in an object of the SDK and all that it holds."""
    if isinstance(thing, list):
        for index, item in enumerate(thing):
            yield from misfits(item, f"{place}[{index}]")
    elif type(thing).__module__.startswith("grafana_foundation_sdk.models") and not isinstance(thing, enum.Enum):
        for name, hint in typing.get_type_hints(type(thing)).items():
            value = getattr(thing, name)
            if not fits(value, hint):
                yield f"{place}.{name}: {value!r}"
            yield from misfits(value, f"{place}.{name}")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a declared type; an enumeration's value may stand for its member."""
    inner = typing.get_args(hint)
    match typing.get_origin(hint) or hint:
        case typing.Union | types.UnionType:
            return any(fits(value, one) for one in inner)
        case typing.Literal:
            return value in inner
        case builtin if builtin is list:
            return isinstance(value, list) and all(fits(item, inner[0]) for item in value)
        case builtin if builtin is dict:
            return isinstance(value, dict) and all(fits(item, inner[1]) for item in value.values())
        case kind if kind is float:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case kind if issubclass(kind, enum.Enum):
            return value in {member.value for member in kind} or isinstance(value, kind)
        case kind:
            return isinstance(value, kind) and (kind is bool or not isinstance(value, bool) or kind is object)
