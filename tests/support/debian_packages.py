"""Install the programs for the tests of `make test-all`: `python tests/support/debian_packages.py`."""

from __future__ import annotations

import shutil
import subprocess
import sys

#: Package -> a program of the package.
NEEDED = {
    "chromium": "chromium",
    "chromium-driver": "chromedriver",
    "lua-check": "luacheck",
    "rabbitmq-server": "rabbitmq-server",
    "redis-server": "redis-server",
}


def main():
    missing = [package for package, program in NEEDED.items() if shutil.which(program) is None]
    if not missing:
        return 0
    if shutil.which("apt-get") is None:
        print(f"make test-all needs {' and '.join(missing)}: please install them; on Debian it does so by itself")
        return 1
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *missing]):
        done = subprocess.run(
            ["apt-get", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode != 0:
            print(done.stdout)
            print(f"make test-all needs {' and '.join(missing)}, and apt-get could not install them (are you root?)")
            return 1
    return 0


sys.exit(main())
