"""Samples decoded in parallel, each once: what is in the cache is not decoded again."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Final

from kda_edge.errors import DataError, one_line
from kda_edge.manifest import InputContract

from ..data.sources import Sample
from .kept_facts import KeptFacts, key_of
from .sample_facts import SampleFacts, examine

PHASE_1: Final = "phase 1"  # the "split" of what it alone looks at
KEPT_AT_ONCE: Final = 64  # a run that is stopped loses at most as many


@dataclass(frozen=True)
class ExaminedSample:
    """A sample of a split, and what it holds.

    Attributes:
        split: train, val, test, or `PHASE_1`.
        sample: it.
        facts: None where it can't be learned from.
        fault: why not, a line that names the file; empty: it can.
    """

    split: str
    sample: Sample
    facts: SampleFacts | None
    fault: str = ""


def examine_samples(
    samples: Sequence[tuple[str, Sample]],
    contract: InputContract,
    *,
    kept: KeptFacts,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[ExaminedSample]:
    """Examine samples, each with its split, on all cores; return them in their order.

    Args:
        samples: split and sample.
        contract: the declared pixels.
        kept: the cache.
        progress: called with a label, samples done and in all.
    """
    found: dict[int, ExaminedSample] = {}
    fresh: dict[str, SampleFacts] = {}
    # Threads: decoding, digests and filters let others run meanwhile.
    pool = ThreadPoolExecutor(_cores(), thread_name_prefix="kda-edge-check")
    try:
        waiting = {pool.submit(_examined, split, one, contract, kept): i for i, (split, one) in enumerate(samples)}
        for done, future in enumerate(as_completed(waiting), start=1):
            key, examined, is_fresh = future.result()
            found[waiting[future]] = examined
            if is_fresh and examined.facts is not None:
                fresh[key] = examined.facts
            if len(fresh) >= KEPT_AT_ONCE:
                kept.keep(fresh)
                fresh.clear()
            if progress is not None:
                progress("images checked", done, len(samples))
    finally:
        pool.shutdown(cancel_futures=True)
        if fresh:
            kept.keep(fresh)
    return [found[i] for i in range(len(samples))]


def _examined(split: str, sample: Sample, contract: InputContract, kept: KeptFacts) -> tuple[str, ExaminedSample, bool]:
    """Return the key of a sample's facts, the sample with them, and whether they are not from the cache."""
    key = ""
    try:
        key = key_of(sample, contract)
        facts = kept.find(key)
        is_fresh = facts is None
        return key, ExaminedSample(split, sample, facts or examine(sample, contract)), is_fresh
    except DataError as error:
        fault = str(error)
    except OSError as error:
        fault = f"{error.filename or sample.image} can't be read ({one_line(error)}); check its rights and its disk"
    return key, ExaminedSample(split, sample, None, fault), False


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
