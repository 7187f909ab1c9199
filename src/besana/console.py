"""The console of the commands: what they print is text, never markup or an emoji."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def plain_console(*, stderr: bool = False, soft_wrap: bool = True) -> "Console":
    """Open a console that prints text as it is.

    Names of files, classes and people may hold `[red]` or `:cd:`; both stay what they are.

    Args:
        stderr: Whether to write to the error output.
        soft_wrap: Whether long lines are left to the terminal; tables want False.
    """
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)


def percent(share: float, decimals: int = 1) -> str:
    """Write a share, 0 to 1, for people; a space before the sign, as ISO 80000-1 has it.

    >>> percent(0.861)
    '86.1 %'
    """
    return f"{100 * share:.{decimals}f} %"
