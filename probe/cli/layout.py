"""How help looks: one screen a command, with an example of each."""

from __future__ import annotations

from typing import Any

import click


class ProbeCommand(click.Command):
    """A command with `examples`: pairs of a command line and what it does, shown under its options."""

    def __init__(self, *args: Any, examples: tuple[tuple[str, str], ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if not self.examples:
            return
        with formatter.section("Examples"):
            formatter.write_dl(list(self.examples), col_max=60)


class ProbeGroup(click.Group):
    """The group shows every command with what it answers and one example."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            for name, command in self.commands.items():
                formatter.write_dl([(name, command.get_short_help_str(limit=100))], col_spacing=10 - len(name))
                if isinstance(command, ProbeCommand) and command.examples:
                    formatter.write(f"{'':12}{click.style('$ ' + command.examples[0][0], dim=True)}\n")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of use, not of the alphabet
