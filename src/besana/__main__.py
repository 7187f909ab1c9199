"""Start the command line: `besana`, or `python -m besana`."""

from __future__ import annotations

from besana.cli import main

if __name__ == "__main__":
    main()
