"""One script a promise (design, section 8). `python -m benchmarks` runs all, `python -m benchmarks NAME` one."""
