"""What a fork of a program makes of what the program opened; run as a program, it prints what came of each use."""

from __future__ import annotations

import gc
import json
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from forks import in_a_fork

from kda_edge.manifest import Manifest
from kda_edge.runtime import Segmenter
from kda_edge.runtime.opened_engine import open_engine
from kda_edge.runtime.runs.shards import Shard


def uses_of(things: dict[str, Any], scene: Path, reopen: Callable[[], Segmenter]) -> Mapping[str, Callable[[], object]]:
    """Return what may be tried with a segmenter, an engine, a stream that has begun; `things` alone holds them."""
    image = np.full((40, 50, 3), 128, np.uint8)
    segmenter, stream, engine = (partial(things.__getitem__, name) for name in ("segmenter", "stream", "engine"))

    def enter_and_leave() -> None:
        with segmenter(), stream():
            pass

    def drop() -> None:
        things.clear()
        gc.collect()

    def open_again() -> str:
        with reopen() as mine:
            return f"{mine.predict(image).mask.shape}"

    return {
        "predict": lambda: segmenter().predict(image),
        "predict_scene": lambda: segmenter().predict_scene(scene),
        "predict_shard": lambda: segmenter().predict_shard(scene, Shard(1, 2)),
        "warm_up": lambda: segmenter().warm_up(),
        "stream": lambda: segmenter().stream([image]),
        "next frame": lambda: next(stream()),
        "summary": lambda: stream().summary,
        "stop": lambda: stream().stop(),
        "close the stream": lambda: stream().close(),
        "close": lambda: segmenter().close(),
        "the engine": lambda: engine()(np.zeros((2, 3, 32, 32), np.float32)),
        "close the engine": lambda: engine().close(),
        "with": enter_and_leave,
        "drop": drop,
        "nothing": lambda: None,
        "engine name": lambda: segmenter().engine_name,
        "open again": open_again,
    }


def identity(tiles: np.ndarray) -> np.ndarray:
    """Band 1 as the probability."""
    return tiles[:, :1] / np.float32(255)


def held_open(manifest: Manifest) -> tuple[Segmenter, threading.Event]:
    """Return a segmenter that another thread is in the middle of a call of, its locks held, and what ends the call."""
    inside, let_go = threading.Event(), threading.Event()

    def engine(tiles: np.ndarray) -> np.ndarray:
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            let_go.wait()
        return identity(tiles)

    segmenter = Segmenter(engine, manifest)
    image = np.zeros((32, 32, 3), np.uint8)
    threading.Thread(target=segmenter.predict, args=(image,), daemon=True).start()
    inside.wait()
    return segmenter, let_go


def main(engine: str, model: str, scene: str, video: str, manifest: str) -> None:
    """Print the outcome of each use in a fork, as JSON, and that the parent goes on as if nothing had been."""
    facts, let_go = Manifest.from_json(manifest), threading.Event()

    def opened() -> Segmenter:
        return Segmenter(identity, facts) if engine == "custom" else Segmenter.open(model, engine=engine)

    things: dict[str, Any] = {"stream": opened().stream(video), "segmenter": opened()}
    next(things["stream"])
    if engine == "custom":
        things["segmenter"], let_go = held_open(facts)
    else:
        things["segmenter"].warm_up()
        things["engine"] = open_engine(Path(model), engine=engine)
    uses = uses_of(things, Path(scene), opened)
    outcomes = {name: in_a_fork(use) for name, use in uses.items() if "engine" in things or "the engine" not in name}
    let_go.set()
    image = np.full((40, 50, 3), 128, np.uint8)
    outcomes["parent"] = f"{things['segmenter'].predict(image).mask.shape}, {len(list(things['stream']))} frames"
    things["segmenter"].close()
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
