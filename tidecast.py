"""The `tidecast` command: checks that the three packages are ours, then hands over to `flows.cli`.

The import packages have everyday names. A folder called `flows` or `features` in another project, standing earlier on
the path, would be imported in their place and fail far from the cause; so that is looked for first, without importing.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("features", "forecasting", "flows")


def shadowed(packages: tuple[str, ...] = PACKAGES, beside: Path | None = None) -> list[str]:
    """One sentence for each package that does not resolve to the folder beside this module."""
    here = beside or Path(__file__).resolve().parent
    problems = []
    for name in packages:
        spec = find_spec(name)
        found = [Path(place).resolve() for place in (spec.submodule_search_locations or [])] if spec else []
        if found[:1] != [here / name]:
            where = found[0] if found else (spec.origin if spec else "nowhere")
            problems.append(f"the package {name!r} must be {here / name}, found {where}")
    return problems


def main() -> None:
    """Run the command line; stop with exit code 1 when another project's folder stands in the way."""
    problems = shadowed()
    if problems:
        advice = "Take that folder off PYTHONPATH or start the command from another directory."
        print(f"tidecast: {'; '.join(problems)}. {advice}", file=sys.stderr)
        sys.exit(1)
    from flows.cli import main as command

    command()


if __name__ == "__main__":
    main()
