"""The fixtures of tests that train."""

from tests.train.fixtures import driver, no_waiting_for_disks, own_cache, team, workshop

__all__ = ["driver", "no_waiting_for_disks", "own_cache", "team", "workshop"]
