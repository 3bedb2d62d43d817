"""Faults from outside, injected: kills, full disks, damaged checkpoints, numbers that are none, clocks that jump.

`SIMPO_FAULTS=long pytest tests/faults` runs the long form: 50 kills, and a full disk at every single operation.
"""
