"""One script a promise (design, section 8). `python -m benchmarks` runs all, `python -m benchmarks NAME` one.

The processes that they start have byte code, as what pip installs has: without it each would compile our modules anew,
and nobody else's.
"""

import os

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
