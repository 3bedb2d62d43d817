"""One run with its evidence: measure the starting model, train, measure the best checkpoint on the same pairs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from simpo.core.objective import Objective
from simpo.data.render import Renderer, render_rows
from simpo.data.version import read_checked
from simpo.evaluate.evaluate import evaluate_model, require_judge_fits
from simpo.evaluate.files import Evaluation, read_evaluation, write_evaluation
from simpo.evaluate.judge import load_judge
from simpo.model.load import Policy, choose_device, load_policy
from simpo.model.reference import Reference, cache_key, precompute
from simpo.model.score import Scorer, score_all
from simpo.recipe import EvaluateRecipe, LoadedRecipe, Recipe
from simpo.records import Dataset, TokenGroup
from simpo.runs.events import read_events
from simpo.runs.folder import RunFolder
from simpo.runs.ranks import current, join
from simpo.train.accelerator import make_accelerator, matmul_precision, run_scorer
from simpo.train.loop import Listener
from simpo.train.prepare import Prepared, Progress, load_data, make_renderer
from simpo.train.run import resume, train

BEFORE, AFTER = "before", "after"


def align(
    loaded: LoadedRecipe, *, listen: Listener | None = None, progress: Progress | None = None
) -> RunFolder:
    """Train a new run and measure it before and after on `data.test`, else on its validation pairs.

    An SFT run, and one without held-out pairs, is trained and not measured here. Errors as of `train`; a judge that
    cannot be imported and test pairs that cannot be read are found before anything is written.
    """
    join(loaded.recipe.train.device)
    require_measures(loaded.recipe)
    run = train(loaded, listen=listen, progress=progress, before=_measure_start(progress))
    measure_after(run, progress)
    return run


def require_measures(recipe: Recipe) -> None:
    """RecipeError or DataError for what the measurements of a run need and do not find, or contradict."""
    if not objective_of(recipe).method.pairwise:
        return
    if recipe.evaluate.judge is not None:
        require_judge_fits(recipe.evaluate, load_judge(recipe.evaluate.judge))
    if recipe.data.test is not None:
        held_out(recipe)


def align_on(
    path: Path | str, *, listen: Listener | None = None, progress: Progress | None = None
) -> RunFolder:
    """Go on with an interrupted run, and measure what was not measured yet."""
    run = resume(path, listen=listen, progress=progress, before=_measure_start(progress))
    if not current().on_main(run.evaluation_path(AFTER).exists):
        measure_after(run, progress)
    return run


def measure_after(
    run: RunFolder, progress: Progress | None = None, settings: EvaluateRecipe | None = None
) -> Evaluation | None:
    """Measure a finished run's best checkpoint against `before`, and write `after.json`.

    settings: in place of the recipe's `evaluate`.
    """
    recipe = run.load_recipe().recipe
    recipe = recipe.model_copy(update={"evaluate": settings or recipe.evaluate})
    dataset = held_out(recipe)
    if dataset is None:
        return None
    start = run.evaluation_path(BEFORE)
    before = read_evaluation(start) if start.exists() else None
    device = choose_device(recipe.train.device)
    policy = load_policy(
        recipe.model.model_copy(update={"name": str(run.path), "revision": None}), device=device
    )
    renderer = make_renderer(policy, recipe.data)
    with matmul_precision(recipe.train.precision):
        reference = run_reference(recipe, dataset, renderer, progress=progress)
        judged = before is not None and before.replies and recipe.evaluate.judge
        against = before if before is not None and (judged or before.regression) else None
        scorer = evaluation_scorer(recipe, policy, renderer, dataset)
        evaluation = _measure(
            run, recipe, policy, renderer, dataset, AFTER, reference, against, progress, scorer
        )
    return evaluation


def held_out(recipe: Recipe, prepared: Prepared | None = None) -> Dataset | None:
    """The pairs to measure on: the test rows, else the validation rows; None for SFT or where there are none."""
    if not objective_of(recipe).method.pairwise:
        return None
    data = recipe.data
    if data.test is not None:
        return read_checked(
            data.test,
            kind="pairs",
            on_bad_row=data.on_bad_row,
            limit=data.limit_test,
            format=data.format,
            columns=data.columns,
            pairing=data.pairing,
        )
    return (load_data(recipe) if prepared is None else prepared.datasets).get("validation")


def objective_of(recipe: Recipe) -> Objective:
    """The objective of a recipe's method section."""
    return Objective.of(recipe.method.name, recipe.method.parameters, recipe.method.chosen_sft_weight)


def run_reference(
    recipe: Recipe, dataset: Dataset, renderer: Renderer, *, progress: Progress | None = None
) -> Reference | None:
    """The reference of a run's method on these pairs: the starting policy, scored once and cached; None for most."""
    if not objective_of(recipe).method.reference:
        return None
    policy = load_policy(recipe.model, device=choose_device(recipe.train.device))
    groups: tuple[TokenGroup, ...] = render_rows(dataset.rows, renderer).groups

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress("scoring with the reference", done, total)

    return precompute(
        policy.model,
        groups,
        key=cache_key(policy.hash, groups, recipe.model.dtype, recipe.train.precision, policy.device.type),
        device=policy.device,
        batch_size=recipe.evaluate.batch_size,
        scorer=evaluation_scorer(recipe, policy, renderer, dataset),
        progress=report,
    )


def own_reference(recipe: Recipe, policy: Policy, scorer: Scorer) -> Reference | None:
    """The starting policy as its own reference: the very same numbers, so that every pair is an exact tie.

    Scores from a cache, made in other batches, would differ by rounding, and rounding would pass for preference.
    """
    if not objective_of(recipe).method.reference:
        return None
    return lambda batch: score_all(policy.model, batch, batch_size=len(batch), scorer=scorer)


def evaluation_scorer(recipe: Recipe, policy: Policy, renderer: Renderer, dataset: Dataset) -> Scorer:
    """The scorer of the recipe for an evaluation, checked in values on some of its own pairs."""
    groups = render_rows(dataset.rows[:32], renderer).groups
    accelerator = make_accelerator(recipe, policy.device)
    if not groups:  # nothing to check on; the evaluation itself says what became of its rows
        recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"scorer": "plain"})})
    return run_scorer(recipe, accelerator, policy.model, groups, gradients=False).scorer


def _measure_start(progress: Progress | None) -> Callable[[RunFolder, Prepared], None]:
    """What `train` calls with the starting policy: measure it, unless an interrupted run has done so already."""

    def measure(run: RunFolder, prepared: Prepared) -> None:
        recipe = run.load_recipe().recipe
        dataset = held_out(recipe, prepared)
        if dataset is None or current().on_main(_begun, run):
            return
        policy, renderer = prepared.policy, prepared.renderer
        scorer = evaluation_scorer(recipe, policy, renderer, dataset)
        reference = own_reference(recipe, policy, scorer)
        _measure(run, recipe, policy, renderer, dataset, BEFORE, reference, None, progress, scorer)

    return measure


def _begun(run: RunFolder) -> bool:
    """Whether an earlier process of this run has measured its start, or gone on from there."""
    return run.evaluation_path(BEFORE).exists() or bool(read_events(run.events_path))


def _measure(
    run: RunFolder,
    recipe: Recipe,
    policy: Policy,
    renderer: Renderer,
    dataset: Dataset,
    label: str,
    reference: Reference | None,
    against: Evaluation | None,
    progress: Progress | None,
    scorer: Scorer,
) -> Evaluation:
    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(f"measuring {label} training", done, total)

    evaluation = evaluate_model(
        policy,
        dataset,
        renderer,
        objective=objective_of(recipe),
        label=label,
        settings=recipe.evaluate,
        reference=reference,
        against=against,
        scorer=scorer,
        progress=report,
    )
    current().on_main(write_evaluation, run.evaluation_path(label), evaluation)
    return evaluation
