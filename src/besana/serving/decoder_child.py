"""A child process of `decoders`: decodes what its parent sends, or dies of it."""

from __future__ import annotations

from besana.engines.child import answer_parent
from besana.serving.decoders import decode
from besana.serving.priority import step_back


def main() -> None:
    """Answer jobs on the socket whose descriptor the command line names."""
    step_back()
    answer_parent(decode)


if __name__ == "__main__":
    main()
