"""All checks that look at the texts of one pair at a time."""

from __future__ import annotations

from collections.abc import Iterable

from simpo.audit.encoding import Encoding
from simpo.audit.findings import Finding
from simpo.audit.language import Language
from simpo.audit.openings import Openings
from simpo.audit.phrases import Phrases
from simpo.audit.privacy import Privacy
from simpo.audit.scores import Scores
from simpo.audit.structure import Structure
from simpo.audit.templates import Templates
from simpo.audit.truncation import Truncation
from simpo.audit.view import TextCheck, view_of
from simpo.records import Pair

ALL = (Structure, Encoding, Templates, Privacy, Language, Truncation, Phrases, Openings, Scores)


class TextChecks:
    """The checks of texts as one check: the view of each pair is made once for all of them."""

    def __init__(self, checks: Iterable[TextCheck] | None = None) -> None:
        self._checks: list[TextCheck] = [make() for make in ALL] if checks is None else list(checks)
        self._seen = 0

    def see(self, number: int, pair: Pair) -> None:
        """Take in pair `number`."""
        self._seen += 1
        view = view_of(pair)
        for check in self._checks:
            check.look(number, pair, view)

    def findings(self) -> list[Finding]:
        """What was found."""
        return [finding for check in self._checks for finding in check.findings(self._seen)]
