"""`spoon completion`: the script that makes a shell complete commands, options and names."""

from typing import Final

import click
from click.shell_completion import get_completion_class

SHELLS: Final = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands, options and names in SHELL.

    Names of engines and models are read from the database, or asked of the server if the database belongs to
    another user.

    \b
    Install it:
      bash  echo 'eval "$(spoon completion bash)"' >> ~/.bashrc
      zsh   echo 'eval "$(spoon completion zsh)"' >> ~/.zshrc     # below the line with compinit
      fish  spoon completion fish > ~/.config/fish/completions/spoon.fish
    It takes effect in a new shell.

    \b
    Example, for this bash only:
      eval "$(spoon completion bash)"
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click has the three shells"
    click.echo(kind(context.find_root().command, {}, "spoon", "_SPOON_COMPLETE").source())
