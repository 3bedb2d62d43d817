"""All checks that look at the texts of one pair at a time."""

from __future__ import annotations

from collections.abc import Iterable

from simpo.audit.findings import Finding
from simpo.audit.texts.encoding import Encoding
from simpo.audit.texts.language import Language
from simpo.audit.texts.openings import Openings
from simpo.audit.texts.phrases import Phrases
from simpo.audit.texts.privacy import Privacy
from simpo.audit.texts.scores import Scores
from simpo.audit.texts.structure import Structure
from simpo.audit.texts.templates import Templates
from simpo.audit.texts.truncation import Truncation
from simpo.audit.texts.view import TextCheck, view_of
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
