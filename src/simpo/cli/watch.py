"""What a person sees while a run trains: what is being done, how fast, what came out, how long it will take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from simpo.cli.output import Progress, duration, note


class Watch:
    """Listens to a run's events and to its preparation, and tells both on stderr; one bar at a time."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._title = ""
        self._done = 0
        self._steps = 0

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def progress(self, what: str, done: int, total: int) -> None:
        """Preparation and evaluation: `done` of `total` rows of `what`."""
        bar = self._bar
        if bar is None or what != self._title or done < self._done:
            bar = self._open(what, total, "rows")
        bar.update(done, num=done - self._done)
        self._done = done
        if done == total:
            self._close()

    def event(self, event: dict[str, Any]) -> None:
        """One event of the run, as it is written."""
        kind = event["event"]
        if kind == "step":
            self._step(event)
        elif kind in _LINES:
            self._close()
            for line in _LINES[kind](event):
                note(line)
        if kind == "start":
            self._steps = event["plan"]["steps"]
        elif kind == "resume":
            self._steps = event["steps"]

    def _step(self, event: dict[str, Any]) -> None:
        bar = self._bar
        if bar is None or self._title != "training":
            bar = self._open("training", max(self._steps, event["step"]), "rows", start=event["step"] - 1)
        figures = f"loss {event['loss']:.4f}"
        if "accuracy" in event:
            figures += f"  accuracy {event['accuracy']:.2f}  margin {event['margin']:+.3f}"
        bar.update(event["step"], num=event["pairs"], text=figures)

    def _open(self, title: str, total: int, unit: str, start: int = 0) -> Progress:
        self._close()
        bar = Progress(title, total=total, unit=unit, start=start)
        self._bar = bar.__enter__()
        self._title, self._done = title, 0
        return bar

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        self._bar, self._title, self._done = None, "", 0


def _start_lines(event: dict[str, Any]) -> list[str]:
    plan, parameters = event["plan"], event["parameters"]
    total, trained = parameters["total"] / 1e6, parameters["trained"] / 1e6
    rows = f"{plan['num_rows']} rows, {plan['num_validation']} for validation"
    lines = [
        f"method  {event['method']}",
        f"model   {event['model']}  ({total:.0f} M parameters, {trained:.3g} M trained)",
        f"plan    {plan['steps']} steps of {plan['batch_size']} from {rows}",
    ]
    for name, data in event["data"].items():
        if data["dropped"]:
            counts = ", ".join(f"{count} {reason}" for reason, count in data["dropped"].items())
            lines.append(f"data    {name}: left out {counts}")
    return lines + [f"warning {text}" for text in event["warnings"]]


def _evaluate_lines(event: dict[str, Any]) -> list[str]:
    loss = "not finite" if event["loss"] is None else f"{event['loss']:.4f}"
    line = f"step {event['step']:>5}  validation loss {loss}"
    if event.get("accuracy") is not None:
        line += (
            f"  accuracy {event['accuracy']:.3f}  margin {event['margin']:+.3f}"
            f"  logps chosen {event['chosen_logps']:.3f} rejected {event['rejected_logps']:.3f}"
        )
    return [line + ("  best so far" if event["best"] else "")]


def _guard_lines(event: dict[str, Any]) -> list[str]:
    figures, verdict = event["figures"], event["verdict"]
    if verdict == "healthy":
        return [
            f"guard   healthy: median reply {figures['median_tokens']:g} tokens, {figures['stopped']:.0%} end by "
            f"themselves, {figures['repetitive']:.0%} repeat themselves"
        ]
    return [f"guard   {verdict}: {reason['words']}" for reason in event["reasons"]]


def _feedback_lines(event: dict[str, Any]) -> list[str]:
    rates = [f"{flag} {event[flag]:.1%}" for flag in ("override", "escalation") if event[flag] is not None]
    return [f"feedback of {event['rows']} replies: {', '.join(rates)}"]


def _stop_lines(event: dict[str, Any]) -> list[str]:
    reasons = {
        "done": "done",
        "max_steps": "done",
        "early_stop": "stopped early: validation no longer improves",
    }
    speed = f"{event['pairs_per_second']:.2f} rows/s"
    took = f"{duration(event['seconds'])} of steps ({speed})"
    return [f"{reasons[event['reason']]} in {took}, best at step {event['best_step']}"]


def _ranks_lines(event: dict[str, Any]) -> list[str]:
    holds = {
        "ddp": "a copy of the weights",
        "fsdp2": "a shard of the weights",
        "zero2": "a copy of the weights and a part of gradients and states",
        "zero3": "a part of the weights, gradients and states",
    }.get(event["strategy"], "")
    return [f"ranks   {event['size']}, each with {holds} ({event['strategy']}: {event['reason']})"]


_LINES: Mapping[str, Callable[[dict[str, Any]], list[str]]] = {
    "start": _start_lines,
    "evaluate": _evaluate_lines,
    "guard": _guard_lines,
    "feedback": _feedback_lines,
    "ranks": _ranks_lines,
    "stop": _stop_lines,
    "resume": lambda event: [f"going on from step {event['step']}"],
    "note": lambda event: [f"note    {event['message']}"],
}
