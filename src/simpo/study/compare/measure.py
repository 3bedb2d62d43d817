"""The measurements of a comparison: every model on the same pairs and prompts, the starting one once for all."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from simpo.core.logps import SequenceLogps
from simpo.core.objective import Objective
from simpo.data.render import Renderer, render_rows
from simpo.errors import RunFailed, SimpoError
from simpo.evaluate.drift import reply_groups, token_kl
from simpo.evaluate.evaluate import choose_prompts, evaluate_model
from simpo.evaluate.files import Evaluation, read_evaluation, write_evaluation
from simpo.evaluate.judge import Judge, load_judge
from simpo.evaluate.pair_judge import compares_replies
from simpo.evaluate.regression_sets import read_sets
from simpo.model.load import Policy, choose_device, load_policy
from simpo.model.reference import PrecomputedReference, Reference
from simpo.recipe import Recipe
from simpo.records import Dataset, TokenGroup
from simpo.runs.checkpoint import best_model_folder
from simpo.runs.folder import read_json, write_json
from simpo.study.align import evaluation_scorer, objective_of, run_reference
from simpo.study.compare.plan import BASE, Plan, PlannedRun, read_held_out
from simpo.study.compare.train import Note, RunFacts
from simpo.train.accelerator import make_accelerator, matmul_precision
from simpo.train.prepare import Progress, make_renderer

MEASURED = 1  # raised where the same model on the same data would give other figures
DRIFT_PROMPTS = 200  # prompts whose chosen replies the divergence is measured on

Divergences = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Drift:
    """Divergences from the start, one entry a reply: prompt_id, total (nats), tokens."""

    chosen: Divergences
    generated: Divergences


@dataclass(slots=True)
class Measurements:
    """All that was measured, by the name of the run; `base` is the starting model. problems: what could not be."""

    dataset: Dataset
    base: Evaluation
    runs: dict[str, Evaluation] = field(default_factory=dict)
    drift: dict[str, Drift] = field(default_factory=dict)
    problems: list[dict[str, str]] = field(default_factory=list)
    judge: Judge | None = None


def check_settings(plan: Plan) -> Judge | None:
    """Load the judge and read every file that will be needed, so that nothing of it fails after a day of training."""
    judge = load_judge(plan.settings.judge) if plan.settings.judge and plan.settings.generate else None
    read_sets(plan.settings.regression, plan.settings.limit_regression)
    return judge


def measure_all(
    plan: Plan, facts: Mapping[str, RunFacts], *, progress: Progress | None = None, note: Note | None = None
) -> Measurements:
    """Evaluate the starting model and every finished run, and how far each run has moved; what was measured before
    under the same conditions is read again. A run that cannot be measured is a problem, and the others go on."""
    dataset = read_held_out(plan)
    judge = check_settings(plan)
    device = choose_device(plan.recipe.train.device)
    base_policy = load_policy(plan.recipe.model, device=device)
    session = _Session(plan, dataset, judge, base_policy, device, progress)
    found = Measurements(dataset, session.base(), judge=judge)
    for contender in plan.contenders:
        for run in contender.runs:
            if facts[run.name].error is not None:
                found.problems.append({"where": run.name, "message": str(facts[run.name].error)})
                continue
            if note is not None:
                note(f"measuring {run.name}")
            try:
                found.runs[run.name], drift = session.run(run, found.base)
            except (SimpoError, torch.OutOfMemoryError) as error:
                found.problems.append({"where": run.name, "message": _words(error)})
                continue
            if isinstance(drift, Drift):
                found.drift[run.name] = drift
            else:
                found.problems.append({"where": f"{run.name}, drift", "message": drift})
    if not found.runs:
        raise RunFailed(
            f"no run could be measured; the first: {found.problems[0]['message']}", where=str(plan.out)
        )
    return found


class _Session:
    """What all measurements share: the data, the judge, the starting model in memory."""

    def __init__(
        self,
        plan: Plan,
        dataset: Dataset,
        judge: Judge | None,
        base_policy: Policy,
        device: torch.device,
        progress: Progress | None,
    ) -> None:
        self.plan, self.dataset, self.base_policy = plan, dataset, base_policy
        self.device, self.progress = device, progress
        self.folder = plan.out / "evaluation"
        self.scores_replies = judge is not None and not compares_replies(judge)
        self.settings = (
            plan.settings if self.scores_replies else plan.settings.model_copy(update={"judge": None})
        )
        sets = read_sets(plan.settings.regression, plan.settings.limit_regression)
        self.shared_key = {
            "measured": MEASURED,
            "data": dataset.hash,
            "settings": self.settings.model_dump(mode="json"),
            "judge": judge.hash if judge is not None and self.scores_replies else None,
            "regression": [each.hash for each in sets],
            "start": base_policy.hash,
        }

    def base(self) -> Evaluation:
        """The starting model's evaluation, under mean log-probability; measured once, kept in the folder."""
        recipe = self.plan.recipe
        key = self._key({"model": BASE, **_conditions(recipe)})
        kept = self._kept(BASE, key)
        if kept is not None:
            return kept
        renderer = make_renderer(self.base_policy, recipe.data)
        with matmul_precision(recipe.train.precision):
            scorer = evaluation_scorer(recipe, self.base_policy, renderer, self.dataset)
            evaluation = evaluate_model(
                self.base_policy,
                self.dataset,
                renderer,
                objective=Objective.of("simpo"),
                label=BASE,
                settings=self.settings,
                scorer=scorer,
                progress=self._report(BASE),
            )
        return self._keep(evaluation, key)

    def run(self, run: PlannedRun, base: Evaluation) -> tuple[Evaluation, Drift | str]:
        """A run's best checkpoint measured as its recipe renders and rewards, and its drift or why there is none."""
        recipe = run.recipe
        mark = _model_mark(run.folder)
        key = self._key(
            {"model": mark, "method": recipe.method.model_dump(mode="json"), **_conditions(recipe)}
        )
        evaluation, drift = self._kept(run.name, key), self._kept_drift(run.name, key)
        if evaluation is not None and drift is not None:
            return evaluation, drift
        own = recipe.model.model_copy(update={"name": str(run.folder), "revision": None})
        policy = load_policy(own, device=self.device)
        try:
            renderer = make_renderer(policy, recipe.data)
            with matmul_precision(recipe.train.precision):
                if evaluation is None:
                    evaluation = self._keep(self._evaluate(run, policy, renderer, base), key)
                return evaluation, drift or self._measure_drift(run, policy, renderer, evaluation, key)
        finally:
            del policy
            _free_memory()

    def _evaluate(self, run: PlannedRun, policy: Policy, renderer: Renderer, base: Evaluation) -> Evaluation:
        return evaluate_model(
            policy,
            self.dataset,
            renderer,
            objective=objective_of(run.recipe),
            label=run.name,
            settings=self.settings,
            reference=self._reference(run.recipe, renderer, base),
            scorer=evaluation_scorer(run.recipe, policy, renderer, self.dataset),
            progress=self._report(run.name),
        )

    def _reference(self, recipe: Recipe, renderer: Renderer, base: Evaluation) -> Reference | None:
        """The starting model's scores: from its own evaluation where that was made under this run's conditions."""
        if not objective_of(recipe).method.reference:
            return None
        if _conditions(recipe) == _conditions(self.plan.recipe):
            return PrecomputedReference(_logps_of(base), self.device)
        settings = recipe.evaluate.model_copy(update={"batch_size": self.settings.batch_size})
        own = recipe.model_copy(update={"evaluate": settings})
        return run_reference(own, self.dataset, renderer, progress=self.progress)

    def _measure_drift(
        self, run: PlannedRun, policy: Policy, renderer: Renderer, evaluation: Evaluation, key: str
    ) -> Drift | str:
        rendered = render_rows(self.dataset.rows, renderer).groups
        chosen = choose_prompts(rendered, DRIFT_PROMPTS, seed=self.settings.seed)
        written = reply_groups(evaluation.replies, self.dataset.rows, renderer)
        accelerator = make_accelerator(run.recipe, self.device)

        def divergences(groups: list[TokenGroup], what: str) -> Divergences:
            found = token_kl(
                policy,
                self.base_policy,
                groups,
                batch_size=self.settings.batch_size,
                autocast=accelerator.autocast,
                progress=self._report(f"drift of {run.name} on {what}"),
            )
            return [
                {"prompt_id": each.row.prompt_id, "total": each.total, "tokens": each.tokens}
                for each in found
            ]

        try:
            drift = Drift(
                divergences(chosen, "chosen"), divergences(written, "its replies") if written else []
            )
        except (SimpoError, torch.OutOfMemoryError) as error:
            return _words(error)
        path = self.folder / f"{run.name}.drift.json"
        write_json(path, {"key": key, "chosen": drift.chosen, "generated": drift.generated})
        return drift

    def _key(self, parts: Mapping[str, Any]) -> str:
        text = json.dumps({**self.shared_key, **parts}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _kept(self, name: str, key: str) -> Evaluation | None:
        path = self.folder / f"{name}.json"
        if not path.exists() or read_json(path).get("key") != key:
            return None
        return read_evaluation(path)

    def _kept_drift(self, name: str, key: str) -> Drift | None:
        path = self.folder / f"{name}.drift.json"
        if not path.exists():
            return None
        found = read_json(path)
        return Drift(found["chosen"], found["generated"]) if found.get("key") == key else None

    def _keep(self, evaluation: Evaluation, key: str) -> Evaluation:
        evaluation = replace(evaluation, report={**evaluation.report, "key": key})
        write_evaluation(self.folder, evaluation)
        return evaluation

    def _report(self, what: str) -> Any:
        progress = self.progress
        return None if progress is None else lambda done, total: progress(f"measuring {what}", done, total)


def _conditions(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides how pairs are rendered and scored, whoever is the model."""
    rendering = ("template", "max_length", "overlong", "trim_turns")
    return {
        "dtype": recipe.model.dtype,
        "attention": recipe.model.attention,
        "precision": recipe.train.precision,
        "scorer": recipe.train.scorer,
        **{key: getattr(recipe.data, key) for key in rendering},
    }


def _model_mark(run: Path) -> str:
    manifest = best_model_folder(run).parent / "manifest.json"
    return hashlib.sha256(manifest.read_bytes()).hexdigest()


def _logps_of(base: Evaluation) -> dict[str, SequenceLogps]:
    """The starting model's log-probabilities of each pair, chosen first, as they were scored."""
    return {
        str(pair["id"]): SequenceLogps(
            torch.tensor([pair["chosen_total"], pair["rejected_total"]], dtype=torch.float32),
            torch.tensor([pair["chosen_tokens"], pair["rejected_tokens"]]),
        )
        for pair in base.pairs
    }


def _words(error: BaseException) -> str:
    if isinstance(error, SimpoError):
        return f"{error.message}; {error.fix}" if error.fix else error.message
    return "the device ran out of memory: lower evaluate.batch_size"


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
