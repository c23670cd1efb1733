"""The pages of the docs, and their blocks of code.

A block that a test cannot run has a comment with the reason on the line before it: ``<!-- not run: needs AWS -->``.
"""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md", "CONTRIBUTING.md", "benchmarks/README.md", "examples/look_aheads/README.md",
    *sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").rglob("*.md")),
]  # fmt: skip
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+?) -->\n\s*)?^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A block of code: its page, language, text, and why it is not run (None: it is)."""

    page: str
    language: str
    text: str
    reason: str | None

    @property
    def commands(self) -> list[str]:
        """The lines of a console block, with continued ones joined and without comments."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        lines = (re.sub(r"\s+# .*", "", line).strip() for line in joined.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page: str, language: str | None = None) -> list[Block]:
    """All blocks of a page, or those in one language."""
    found = [
        Block(page, match["language"], textwrap.dedent(match["text"]), match["reason"])
        for match in BLOCK.finditer(text_of(page))
    ]
    return [block for block in found if language in (None, block.language)]
