"""The fixtures of tests that train."""

from tests.train.fixtures import no_waiting_for_disks

__all__ = ["no_waiting_for_disks"]
