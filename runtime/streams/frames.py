"""A frame, and the protocol of whatever gives frames one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """A frame as its source gives it.

    Attributes:
        image: (H, W, 3), channels in the source's own order.
        timestamp_s: where it lies in its recording, seconds; None where the source does not say.
    """

    image: NDArray[Any]
    timestamp_s: float | None = None


class FrameSource(Protocol):
    """Gives frames one by one, to one thread at a time.

    Attributes:
        name: for messages, without passwords.
        live: frames come when they come, and an end is a loss.
        threaded: frames may be read by a thread of ours, the next one while one is at work.
        fps: frames a second as the source says; None where it does not.
        notes: what was odd, a sentence each.
    """

    name: str
    live: bool
    threaded: bool
    fps: float | None
    notes: list[str]

    def read(self) -> Frame | None:
        """Return the next frame; None: there is none."""
        ...

    def skip(self) -> bool:
        """Pass over a frame as cheaply as can be; False: there is none."""
        ...

    def in_order(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return a frame's pixels with their channels in the model's order of bands."""
        ...

    def reopen(self) -> None:
        """Open a lost source again; raises VideoError where it is still lost."""
        ...

    def close(self) -> None:
        """Let go of it; closing twice is no error."""
        ...
