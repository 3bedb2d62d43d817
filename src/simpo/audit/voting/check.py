"""The check of annotators: collects their votes and says how far the labels made of them can be trusted."""

from __future__ import annotations

from simpo.audit.findings import Finding
from simpo.audit.tally import Tally
from simpo.audit.voting.agreement import agreement_findings
from simpo.audit.voting.annotators import annotator_figures
from simpo.audit.voting.position import position_findings
from simpo.audit.voting.votes import Votes, label_margin
from simpo.records import Dropped, Pair


class Reliability:
    """Agreement of annotators, position bias, and labels that go against the votes they were made of.

    Pairs without `annotations` say nothing here. `see_dropped` takes in the rows that were left out: the ties among
    them carry votes, without which agreement would be flattered.
    """

    def __init__(self) -> None:
        self.votes = Votes()
        self._against = Tally()
        self._num_voted = 0

    def see(self, number: int, pair: Pair) -> None:
        """Take in pair `number`."""
        self.votes.see(number, pair)
        margin = label_margin(pair)
        if margin is None:
            return
        self._num_voted += 1
        if margin < 0:
            self._against.add(
                number, pair, f"{-margin} more votes for the rejected reply than for the chosen one"
            )

    def see_dropped(self, row: Dropped) -> None:
        """Take in a row that was left out."""
        self.votes.see_dropped(row)

    def findings(self) -> list[Finding]:
        """Agreement, annotators, position, labels against their votes."""
        table = self.votes.table()
        annotators = annotator_figures(table)
        return [
            *agreement_findings(table, annotators),
            *position_findings(table, annotators),
            *self._label_findings(),
        ]

    def _label_findings(self) -> list[Finding]:
        count = len(self._against)
        if not count:
            return []
        return [
            Finding(
                "label_against_votes",
                "error",
                f"{count:,} of {self._num_voted:,} pairs with votes are labelled against the majority of their votes.",
                "Swap chosen and rejected, unless somebody overruled the annotators on purpose.",
                count,
                self._num_voted,
                examples=tuple(self._against.examples),
                rows=self._against.rows,
                repair="swap",
            )
        ]
