"""`python -m bench [NAME ...] [--write]`: measure, print the table; --write keeps it in docs/."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
from pathlib import Path

from rich.console import Console

from bench import audit, aws, browser, bundle, login, many, names, plan, shared, upgrade
from bench.table import Row, markdown, terminal

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "benchmarks.md"
MEASURES = {
    "bundle": bundle.measure,
    "plan": plan.measure,
    "aws": aws.measure,
    "login": login.measure,
    "many": many.measure,
    "names": names.measure,
    "shared": shared.measure,
    "upgrade": upgrade.measure,
    "audit": audit.measure,
    "browser": browser.measure,
}


def main() -> None:
    """Run the named measurements, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASURES))
    parser.add_argument("--write", action="store_true", help=f"keep the table in {PAGE.name}")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(MEASURES)
    if unknown:
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}")
    console, rows = Console(), list[Row]()
    for name in arguments.names or MEASURES:
        with console.status(f"measuring: {name}"):
            rows += MEASURES[name]()
    console.print(terminal(rows))
    if arguments.write:
        PAGE.write_text(_page(rows))


def _page(rows: list[Row]) -> str:
    today = dt.datetime.now(dt.timezone.utc).date()
    return (
        "# Measurements\n\n"
        f"The last table of `make bench`, {today}, on {os.cpu_count()} cores"
        f" ({platform.machine()}). Each row compares two things in one run; the ratios count, the"
        " seconds are this computer's.\n\n"
        f"{markdown(rows)}"
    )


if __name__ == "__main__":
    main()
