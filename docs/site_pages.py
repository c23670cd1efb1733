"""Pages of the site that lie outside docs/, and links to them. A hook of mkdocs.yml.

The pages read well on GitHub, where links lead to files of the repository: ``../benchmarks/README.md``. On the site
these files are pages of their own, and each link is pointed at its page.
"""

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]

PAGES = {
    "benchmarks/README.md": "benchmarks.md",
    "examples/look_aheads/README.md": "look_aheads.md",
    "examples/README.md": "examples.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "README.md": "index.md",
}
"""File of the repository to page of the site. README has the home page's part there."""

PICTURES = {f"benchmarks/{name}": name for name in ("time_to_accuracy.png", "time_to_accuracy_dark.png")}
EXAMPLES = [*ROOT.glob("examples/*.py"), *ROOT.glob("examples/*.ipynb"), *ROOT.glob("examples/own_source/*.*")]
SHOWN = {"mlflow.yml": "mlflow_yml.md"} | {
    path.relative_to(ROOT).as_posix(): f"{path.relative_to(ROOT).with_suffix('').as_posix()}.md"
    for path in sorted(EXAMPLES)
    if path.name != "__init__.py"
}
"""Files that are no pages, shown whole in a page of their own."""

LANGUAGES = {".yml": "yaml", ".py": "python", ".toml": "toml"}
"""Suffix to the language of a block."""

PICTURE = re.compile(
    r'<picture>\s*<source media="\(prefers-color-scheme: dark\)" srcset="(?P<dark>[^"]+)">\s*'
    r'<img alt="(?P<alt>[^"]*)" src="(?P<light>[^"]+)">\s*</picture>'
)
"""A picture with another one for dark pages, as GitHub takes it."""

LINK = re.compile(r"(\]\()([^)#:\s]*)(#[^)\s]*)?(\))")
README_PLACES = {"#does-it-work": "benchmarks.md#in-brief"}
"""Places of README that are elsewhere on the site."""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside docs/."""
    for source, page in {**PAGES, **PICTURES}.items():
        if page != "index.md":
            files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for source, page in SHOWN.items():
        files.append(File.generated(config, page, content=_shown(source)))
    return files


def _shown(source: str) -> str:
    """Return a file as Markdown; of a notebook, its cells."""
    text = (ROOT / source).read_text(encoding="utf-8")
    if source.endswith(".ipynb"):
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
        return "\n\n".join(f"```python\n{each}\n```" if kind == "code" else each for kind, each in cells)
    return f"# {source}\n\n```{LANGUAGES[Path(source).suffix]}\n{text}```\n"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links at pages of the site, and let pictures follow its switch between light and dark."""
    markdown = PICTURE.sub(r"![\g<alt>](\g<light>#only-light)\n![\g<alt>](\g<dark>#only-dark)", markdown)
    sources = {site: source for source, site in PAGES.items() if site != "index.md"}
    here = page.file.src_uri
    folder = posixpath.dirname(sources.get(here, f"docs/{here}"))

    def pointed(match: re.Match[str]) -> str:
        before, path, anchor, after = match.groups()
        if not path:
            return match.group()
        wanted = posixpath.normpath(posixpath.join(folder, path))
        if wanted == "README.md" and anchor in README_PLACES:
            found, anchor = README_PLACES[anchor].split("#")
            anchor = f"#{anchor}"
        else:
            found = {**PAGES, **PICTURES, **SHOWN}.get(wanted, wanted.removeprefix("docs/"))
        return f"{before}{posixpath.relpath(found, posixpath.dirname(here) or '.')}{anchor or ''}{after}"

    return LINK.sub(pointed, markdown)
