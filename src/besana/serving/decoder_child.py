"""A child process of `decoders`: decodes what its parent sends, or dies of it."""

from __future__ import annotations

from besana.engines.child import answer_parent
from besana.serving.decoders import decode


def main() -> None:
    """Answer jobs on the socket whose descriptor the command line names."""
    answer_parent(decode)


if __name__ == "__main__":
    main()
