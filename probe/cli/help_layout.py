"""How help looks: one screen a command, with an example of each."""

from __future__ import annotations

from typing import Any

import click


class ProbeCommand(click.Command):
    """A command with `examples`: pairs of a command line and what it does, shown under its options."""

    def __init__(self, *args: Any, examples: tuple[tuple[str, str], ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _with_values(args, self.params))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if not self.examples:
            return
        with formatter.section("Examples"):
            formatter.write_dl(list(self.examples), col_max=60)


def _with_values(args: list[str], params: list[click.Parameter]) -> list[str]:
    """`args`, in which every choice that may stand without a value has one: `--confirm recipe.toml` is no choice called
    recipe.toml, as click would read it."""
    optional = {
        name: param
        for param in params
        if isinstance(param, click.Option) and not param.is_flag and isinstance(param.flag_value, str)
        for name in param.opts
    }
    written = list(args)
    for place, argument in enumerate(args):
        param = optional.get(argument)
        following = args[place + 1] if place + 1 < len(args) else None
        if param is not None and isinstance(param.type, click.Choice) and following not in param.type.choices:
            written[place] = f"{argument}={param.flag_value}"
    return written


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
