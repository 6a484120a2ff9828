"""``python -m multiprompt``: the same as the command ``multiprompt``."""

from __future__ import annotations

from multiprompt.cli.main import main

if __name__ == "__main__":
    main()
