"""The fixtures of tests of what is refused."""

from tests.train.fixtures import driver, no_waiting_for_disks, own_cache, workshop

__all__ = ["driver", "no_waiting_for_disks", "own_cache", "workshop"]
