"""How often 95 % intervals hold the truth, over simulated data sets whose truth is known: clustered, with seeds.

    python -m benchmarks.interval_coverage [--datasets 2000]

Prompts differ (their chances are drawn from Beta distributions), hold one to four pairs each, and both methods find the
same prompts hard (a Gaussian copula); where there are several seeds, each shifts its method's chance on every prompt.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, norm

from simpo.core.crossed import crossed_difference, crossed_mean
from simpo.core.intervals import Interval, paired_difference, share_interval
from simpo.core.length_control import length_controlled_rate

Floats = npt.NDArray[np.float64]
NUM_PROMPTS = 80
CONCENTRATION = (
    2.0  # of the Beta distributions: at 2 most prompts are nearly always right or nearly always wrong
)


@dataclass(frozen=True, slots=True)
class World:
    """Two methods with known chances of being right; `seed_spread`: standard deviation of a seed's shift."""

    first: float = 0.74
    second: float = 0.66
    seeds: int = 1
    seed_spread: float = 0.0
    num_prompts: int = NUM_PROMPTS

    def draw(self, rng: np.random.Generator) -> tuple[Floats, Floats, list[int]]:
        """Outcomes [K, N] of both methods and the prompt of each of the N pairs."""
        sizes = rng.integers(1, 5, size=self.num_prompts)
        prompts = np.repeat(np.arange(self.num_prompts), sizes)
        common = rng.standard_normal(self.num_prompts)
        drawn = []
        for chance in (self.first, self.second):
            own = 0.7 * common + np.sqrt(1 - 0.7**2) * rng.standard_normal(self.num_prompts)
            shifts = self.seed_spread * rng.standard_normal(self.seeds)
            rows = []
            for shift in np.clip(shifts, -0.2, 0.2):
                a, b = CONCENTRATION * (chance + shift), CONCENTRATION * (1 - chance - shift)
                rows.append(rng.random(len(prompts)) < beta.ppf(norm.cdf(own), a, b)[prompts])
            drawn.append(np.asarray(rows, dtype=np.float64))
        return drawn[0], drawn[1], prompts.tolist()


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of interval in one world: `draw` gives the interval of a simulated data set."""

    name: str
    truth: float
    draw: Callable[[np.random.Generator], Interval]

    def coverage(self, datasets: int, seed: int) -> float:
        """Share of the simulated data sets whose interval holds the truth."""
        rng = np.random.default_rng(seed)
        found = (self.draw(rng) for _ in range(datasets))
        return sum(interval.low <= self.truth <= interval.high for interval in found) / datasets


def cases(resamples: int = 1000) -> list[Case]:
    """Every kind of interval that a comparison prints, in worlds that could trip it."""
    one, near, few = World(), World(first=0.97), World(num_prompts=20)
    three, still = World(seeds=3, seed_spread=0.04), World(seeds=3)

    def share(world: World) -> Callable[[np.random.Generator], Interval]:
        def draw(rng: np.random.Generator) -> Interval:
            first, _, prompts = world.draw(rng)
            return share_interval(first[0], prompts, num_resamples=resamples)

        return draw

    def difference(world: World) -> Callable[[np.random.Generator], Interval]:
        def draw(rng: np.random.Generator) -> Interval:
            first, second, prompts = world.draw(rng)
            if world.seeds > 1:
                return crossed_difference(first, second, prompts)
            return paired_difference(first[0], second[0], prompts, num_resamples=resamples, bounds=(0.0, 1.0))

        return draw

    def mean(world: World) -> Callable[[np.random.Generator], Interval]:
        def draw(rng: np.random.Generator) -> Interval:
            first, _, prompts = world.draw(rng)
            return crossed_mean(first, prompts)

        return draw

    gap = one.first - one.second
    return [
        Case("accuracy, 80 prompts", one.first, share(one)),
        Case("accuracy of 97 %, 80 prompts", near.first, share(near)),
        Case("accuracy, 20 prompts", few.first, share(few)),
        Case("paired difference, 80 prompts", gap, difference(one)),
        Case("paired difference, 20 prompts", gap, difference(few)),
        Case("accuracy over 3 seeds that differ (4 points)", three.first, mean(three)),
        Case("accuracy over 3 seeds that do not differ", still.first, mean(still)),
        Case("difference over 3 seeds that differ (4 points)", gap, difference(three)),
        Case("difference over 3 seeds that do not differ", gap, difference(still)),
        Case("length-controlled win rate, 150 prompts", *_length_case(resamples)),
    ]


def _length_case(resamples: int) -> tuple[float, Callable[[np.random.Generator], Interval]]:
    """Wins drawn from the model itself: theta 0.3, 1.2 per unit of length, the first model longer by half a spread."""

    def draw(rng: np.random.Generator) -> Interval:
        delta = rng.normal(150.0, 300.0, size=150)
        logits = 0.3 + 1.2 * np.tanh(delta / 300.0)
        wins = (rng.random(150) < 1 / (1 + np.exp(-logits))).astype(float)
        lengths = 1000 + delta
        return length_controlled_rate(
            wins, lengths, np.full(150, 1000.0), range(150), num_resamples=resamples
        ).rate

    return float(1 / (1 + np.exp(-0.3))), draw


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the coverage of every case."""
    parser = argparse.ArgumentParser(prog="interval_coverage", description=__doc__)
    parser.add_argument("--datasets", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    for case in cases():
        print(f"{case.name:<50} {case.coverage(options.datasets, options.seed):.1%}", flush=True)


if __name__ == "__main__":
    main()
