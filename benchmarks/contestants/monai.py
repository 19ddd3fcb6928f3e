"""The published way: the network in eager PyTorch under MONAI's `sliding_window_inference`, DCF in its plain order.

Fairly written: the scene is read once, normalised once and in place, the network runs in inference mode with the batch
that is fastest here, one channel is blended and not two, and the map is written in one call.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.windows import Window

from kda_edge.errors import MissingDependency
from kda_edge.rasters.valid_pixels import ValidPixels
from kda_edge.runtime.geo.gdal import open_raster
from kda_edge.tiling.tile_grid import TileGrid

from .batch_choice import candidates_on, chosen_batch
from .plain_map import WRITING, write_plain_map
from .pytorch import PublishedOrder, computing_in, network_of, where_and_how
from .task import Lap, MappingTask, Settings

BLENDING = "gaussian"


class MonaiPeer:
    """The task's checkpoint under MONAI.

    Attributes:
        settings: of network, window and writing.
    """

    def __init__(self, task: MappingTask) -> None:
        """Open the network and choose the batch.

        Raises:
            MissingDependency: MONAI is not installed.
            UsageError, CheckpointError: see `kda_edge.benchmarks.contestants.pytorch.network_of`.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # MONAI and what it imports warn about their own future
                import monai
                from monai.inferers.utils import sliding_window_inference
        except ModuleNotFoundError as error:
            raise MissingDependency("monai", extra="peers") from error
        self._slide = sliding_window_inference
        self._task, self._manifest = task, task.model().manifest
        network = PublishedOrder(network_of(task)).eval().to(task.device)
        self._network = computing_in(network, task.precision, task.device)
        self._batch, why = chosen_batch(self._try, self._manifest.tile_px, task.batch, candidates_on(task.device))
        self.settings: Settings = {
            "engine": f"PyTorch {torch.__version__}, eager, {where_and_how(task)}, inference mode, {network.steps}",
            "loop": f"MONAI {monai.__version__} sliding_window_inference, {BLENDING} blending, whole scene in memory",
            "threads": task.threads,
            "batch": self._batch,
            "batch_choice": why,
            "tile_px": self._manifest.tile_px,
            "overlap_px": task.overlap_px,
            "writes": WRITING,
        }

    def run(self, scene_path: Path, out_dir: Path) -> Lap:
        """Map a scene; the clock includes reading and writing."""
        path, start = out_dir / "monai.tif", time.perf_counter()
        contract, tile_px = self._manifest.input, self._manifest.tile_px
        with open_raster(scene_path) as dataset:
            raw, whole = dataset.read(list(self._task.bands)), Window(0, 0, dataset.width, dataset.height)
            valid = ValidPixels(dataset, self._task.bands).of(dataset, raw.transpose(1, 2, 0), whole).valid
            image = torch.from_numpy(raw).float()[None]
            del raw
            image.sub_(torch.tensor(contract.mean).reshape(1, 3, 1, 1))
            image.div_(torch.tensor(contract.std).reshape(1, 3, 1, 1))
            with torch.inference_mode(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                probability = self._slide(
                    image,
                    (tile_px, tile_px),
                    self._batch,
                    self._network,
                    overlap=self._task.overlap_px / tile_px,
                    mode=BLENDING,
                    sw_device=self._task.device,
                    device="cpu",  # where the scene is blended: as large as it may be
                )
            assert isinstance(probability, torch.Tensor)
            write_plain_map(path, dataset, probability[0, 0].numpy(), valid, self._manifest.threshold)
            tiles = len(TileGrid(valid.shape[0], valid.shape[1], tile_px, self._task.overlap_px))
        return Lap(time.perf_counter() - start, tiles, path)

    def _try(self, tiles: NDArray[np.float32]) -> None:
        answer = self._network((torch.from_numpy(tiles).to(self._task.device) - 128.0) / 64.0)
        answer.float().cpu()  # waits until it is done
