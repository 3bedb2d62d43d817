"""`python -m benchmarks`: the quick comparison, one row in a few minutes; options as in `benchmarks.against_trl`."""

from __future__ import annotations

import sys

from benchmarks.against_trl import main

if __name__ == "__main__":
    sys.exit(main(["--quick", *sys.argv[1:]]))
