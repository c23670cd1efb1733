"""Pages of the site that lie outside docs/, and links to them. A hook of mkdocs.yml.

The pages read well on GitHub, where links lead to files of the repository: ``../benchmarks/README.md``. On the site
these files are pages of their own, and each link is pointed at its page.
"""

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

PICTURES = {"benchmarks/time_to_accuracy.png": "time_to_accuracy.png"}
SHOWN = {"mlflow.yml": "mlflow_yml.md"}
"""Files that are no pages, shown whole in a page of their own."""

LINK = re.compile(r"(\]\()([^)#:\s]*)(#[^)\s]*)?(\))")
README_PLACES = {"#does-it-work": "benchmarks.md#in-brief"}
"""Places of README that are elsewhere on the site."""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside docs/."""
    for source, page in {**PAGES, **PICTURES}.items():
        if page != "index.md":
            files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for source, page in SHOWN.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=f"# {source}\n\n```yaml\n{text}```\n"))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links at pages of the site."""
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
