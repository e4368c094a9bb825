"""The first steps: is this machine fit, a recipe for one's own text, completion in the shell."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import click

from flows.cli.commands.options import AS_JSON
from flows.cli.printing import say

MARKS = {"ok": "+", "warn": "!", "fail": "x"}
STYLES = {"warn": "yellow", "fail": "red"}


@click.command()
@click.option("--engine", metavar="NAME", help="Try the places of this engine (conf/engine/) with a step of no work.")
@AS_JSON
def doctor(engine: str | None, as_json: bool) -> None:
    """What this machine has and lacks, and how to fix it. Exits 1 if a run cannot work.

    With --engine it asks the places instead, in which steps would run: whether a worker is there, sees the same store,
    has the same libraries, a GPU, and the right time.

    \b
    fromzero doctor
    fromzero doctor --engine one_gpu_box
    """
    from dataclasses import asdict

    from flows.cli.doctor import examine
    from tasks.core.checks import FAIL, WARN
    from tasks.core.store.open import home, open_store
    from tasks.register import steps as register

    if engine is not None:
        from flows.runs.running import try_places

        checks = try_places(engine)
    else:
        checks = examine(home())
        checks += register.examine(open_store()) if home().is_dir() else []
    failed, warned = (sum(check.state == state for check in checks) for state in (FAIL, WARN))
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}))
        sys.exit(1 if failed else 0)
    from rich.text import Text

    from tasks.views.terminal.live import console

    screen, width = console(), max(len(check.name) for check in checks)
    for check in checks:
        line = f"{MARKS[check.state]} {check.state:<4}  {check.name:<{width}}  {check.found}"
        screen.print(Text(line, style=STYLES.get(check.state, "")))
        if check.fix:
            screen.print(Text(f"{'':<{width + 8}}→ {check.fix}"))
    said = f"{failed} must be fixed before a run can work" if failed else "ready to run"
    screen.print(f"\n{said}" + (f", {warned} to look at" if warned else ""))
    sys.exit(1 if failed else 0)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("mine.yaml"), show_default=True,
              help="Where the recipe is written.")  # fmt: skip
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def init(folder: Path, output: Path, force: bool) -> None:
    """Write a recipe for a folder of text. Looks at the files and asks nothing.

    \b
    fromzero init ~/notes
    fromzero init articles -o articles.yaml
    """
    from flows.cli import init_recipe
    from tasks.collect import steps as collect
    from tasks.core.errors import ConfigError

    if output.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{output}: a recipe's file ends in .yaml")
    seen = collect.survey(folder.expanduser())
    if output.exists() and not force:
        raise ConfigError(f"{output} is there already: -o names another file, --force writes over it")
    output.parent.mkdir(parents=True, exist_ok=True)
    init_recipe.write(init_recipe.recipe(seen, output), output)
    say("\n".join(f"  {line}" for line in init_recipe.describe(seen)))
    file = shlex.quote(str(output))
    say(f"wrote {output}. Next:\n  fromzero plan {file}\n  fromzero run {file}")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the lines that make a shell complete. Commands, recipes, options, steps, runs and models.

    \b
    eval "$(fromzero completion bash)"                 # in ~/.bashrc
    eval "$(fromzero completion zsh)"                  # in ~/.zshrc
    fromzero completion fish > ~/.config/fish/completions/fromzero.fish
    """
    from flows.cli.completion import script

    click.echo(script(ctx.find_root().command, shell))
