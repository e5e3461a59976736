"""Layout of `--help`: options under headings, examples below them, one screen per command."""

from __future__ import annotations

from typing import Any

import click


class SectionOption(click.Option):
    """An option that `--help` lists under the heading `section`."""

    def __init__(self, *args: Any, section: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionArgument(click.Argument):
    """A positional argument that `--help` explains under the heading `section`."""

    def __init__(self, *args: Any, help: str, section: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.help_text = help
        self.section = section

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        return self.human_readable_name, self.help_text


class ProbeCommand(click.Command):
    """A command with `--debug`, option headings and `examples`: a command line and its description each."""

    def __init__(self, *args: Any, examples: tuple[tuple[str, str], ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        help_text = "Show the traceback of an error."
        self.params.append(click.Option(["--debug"], is_flag=True, expose_value=False, help=help_text))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _with_values(args, self.params))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, with all descriptions in one column. `--debug` and `--help` come last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        others: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            section = getattr(param, "section", None)
            if record is not None:
                (others if section is None else sections.setdefault(section, [])).append(record)
        sections.setdefault("Output" if "Output" in sections else "Options", []).extend(others)
        width = max(len(flags) for records in sections.values() for flags, _ in records)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl([(f"{flags:<{width}}", text) for flags, text in records])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if not self.examples:
            return
        with formatter.section("Examples"):
            for command, description in self.examples:
                formatter.write(f"  {click.style('# ' + description, dim=True)}\n  $ {command}\n")


def _with_values(args: list[str], params: list[click.Parameter]) -> list[str]:
    """Add the default to each choice that is given without a value, as in `--confirm recipe.toml`: click would read
    recipe.toml as the choice."""
    optional = {
        name: param
        for param in params
        if isinstance(param, click.Option) and not param.is_flag and isinstance(param.flag_value, str)
        for name in param.opts
    }
    completed = list(args)
    for place, argument in enumerate(args):
        param = optional.get(argument)
        following = args[place + 1] if place + 1 < len(args) else None
        if param is not None and isinstance(param.type, click.Choice) and following not in param.type.choices:
            completed[place] = f"{argument}={param.flag_value}"
    return completed


class ProbeGroup(click.Group):
    """A group that lists each command with its purpose and one example."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            for name, command in self.commands.items():
                formatter.write_dl([(name, command.get_short_help_str(limit=100))], col_spacing=10 - len(name))
                if isinstance(command, ProbeCommand) and command.examples:
                    formatter.write(f"{'':12}{click.style('$ ' + command.examples[0][0], dim=True)}\n")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order they are used, not alphabetical
