#!/usr/bin/env bash
# Prints the release of every package in an environment, as constraints for pip.
set -euo pipefail
cat <<'TEXT'
# The release of every package that the tests pass with and the figures in docs/ were made with: `make` installs these.
# The lowest releases that multiprompt takes are in pyproject.toml. `make lock` writes this file.
TEXT
# Local versions such as +cpu name a build, not a release. The project itself is no package to pin.
"$1/bin/python" -m pip list --disable-pip-version-check --format=freeze |
    grep -v -i -E '^(multiprompt|pip)==' | sed -E 's/\+[a-z0-9.]+$//' | sort -f
