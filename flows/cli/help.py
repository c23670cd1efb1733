"""How help is printed: commands in sections, examples that fit the width; and errors of usage as JSON."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from rich.cells import cell_len

from tidecast.flows.cli.answer import Answer

VERBATIM = "\b"
"""Click's mark before a paragraph whose lines stay as they are."""


class _Formatter(click.HelpFormatter):
    """Breaks an example that is too long as a shell allows: a backslash, and the rest on the next line."""

    def write_text(self, text: str) -> None:
        room = self.width - self.current_indent
        parts = re.split(r"(\n\s*\n)", text)
        super().write_text("".join(_fitted(part, room) if part.startswith(VERBATIM) else part for part in parts))


def _fitted(paragraph: str, room: int) -> str:
    return "\n".join(piece for line in paragraph.split("\n") for piece in _broken(line, room))


def _broken(line: str, room: int) -> Iterator[str]:
    """An example's lines, cut before options; a line that is not a command is left alone."""
    if cell_len(line) <= room or not line.lstrip().startswith("tidecast "):
        yield line
        return
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    outside_quotes = r"(?=(?:[^\"']|\"[^\"]*\"|'[^']*')*$)"
    while cell_len(line) > room:
        cuts = [cut.start() for cut in re.finditer(rf"(?<=\S) (?=--){outside_quotes}", line) if cut.start() <= room - 2]
        if not cuts:
            break
        yield f"{line[: cuts[-1]]} \\"
        line = indent + line[cuts[-1] + 1 :]
    yield line


class _Context(click.Context):
    formatter_class = _Formatter


class Command(click.Command):
    """A command whose examples fit the width."""

    context_class = _Context


class Group(click.Group):
    """A group of such commands."""

    context_class = _Context
    command_class = Command


class Sections(Group):
    """The outermost group: it lists its commands in sections, and prints errors of usage as JSON where that is wanted.

    Parameters
    ----------
    *args, **kwargs : object
        As of ``click.Group``.
    sections : mapping of str to sequence of str
        The names of commands, by the heading over them.
    """

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the sections.

        Parameters
        ----------
        ctx : click.Context
        """
        return [name for names in self.sections.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a list per section.

        Parameters
        ----------
        ctx : click.Context
        formatter : click.HelpFormatter
        """
        width = max(map(len, self.commands))
        for heading, names in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), self.commands[name].get_short_help_str(200)) for name in names])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, and note whether JSON is wanted.

        Parameters
        ----------
        ctx : click.Context
        args : list of str
        """
        ctx.meta["as_json"] = "--json" in args
        ctx.meta["command"] = " ".join(self._names_in(args))
        try:
            return super().parse_args(ctx, args)
        except click.ClickException as error:
            self._answer(ctx, error)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of usage becomes a JSON object where that is wanted, and a message as always.

        Parameters
        ----------
        ctx : click.Context
        """
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            self._answer(ctx, error)
            raise

    def _names_in(self, args: Sequence[str]) -> Iterator[str]:
        """The names of the command and of its subcommand among the words typed."""
        group: click.Command = self
        for word in args:
            if isinstance(group, click.Group) and word in group.commands:
                yield word
                group = group.commands[word]

    @staticmethod
    def _answer(ctx: click.Context, error: click.ClickException) -> None:
        Answer(ctx.meta["as_json"], ctx.meta["command"]).finish(error.exit_code, error.format_message())
