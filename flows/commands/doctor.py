"""`einfluence doctor`: what this machine has and lacks."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from einfluence.visible import visible
from flows.commands.loudness import quiet
from flows.commands.options import DEFAULT_STORE, StoreRoot, quiet_libraries

SIGNS = {"ok": "✓", "note": "·", "missing": "✗"}


def doctor(
    store: StoreRoot = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look at versions, devices, cache, store and server; say what is missing and how to mend it (then exit code 1)."""
    quiet_libraries()
    from flows.doctor import examine

    findings, lacking = [], 0
    for found in examine(store):
        findings.append(found.to_json())
        lacking += found.state == "missing"
        if not as_json and (found.state != "ok" or not quiet()):
            fix = f"  → {found.fix}" if found.fix else ""
            typer.echo(visible(f"{SIGNS[found.state]} {found.what:18} {found.found}{fix}"))
    if as_json:
        typer.echo(json.dumps({"ok": lacking == 0, "findings": findings}))
    elif not quiet():
        typer.echo(f"{lacking} missing" if lacking else "nothing is missing", err=True)
    raise typer.Exit(1 if lacking else 0)
