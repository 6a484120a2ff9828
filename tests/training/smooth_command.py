"""The command ``multiprompt`` with smooth optimisers, for runs of several processes that end as that of one does."""

from __future__ import annotations

from multiprompt.cli.main import main
from rounding import smooth_optimisers

if __name__ == "__main__":
    with smooth_optimisers():
        main()
