"""Networks by name, all through one function: students, those with other heads or backbones, and Table II's peers."""

from __future__ import annotations

from kda_edge.decoders.by_name import HEADS
from kda_edge.errors import UsageError
from kda_edge.networks.network import Network
from kda_edge.networks.peers import PEERS, peer_from_name
from kda_edge.networks.student import VARIANTS, Student, require_student
from kda_edge.networks.timm_student import TimmStudent, is_timm_backbone, require_head


def network_from_name(name: str) -> Network:
    """Return a network with fresh weights.

    Args:
        name: `base` (a size of the student), `base+unet` (another head on its encoder), `tf_efficientnet_lite0+dcf`
            (a backbone of timm under a head) or `deeplabv3plus` (a peer).

    Raises:
        UsageError: no such network.
        MissingDependency: the library that a peer comes from is not installed.
    """
    require_network(name)
    if name in PEERS:
        return peer_from_name(name)
    return Student(name) if name.partition("+")[0] in VARIANTS else TimmStudent(name)


def require_network(name: str) -> None:
    """Raise `UsageError` unless there is a network of a name, head included; none is made."""
    backbone = name.partition("+")[0]
    if name in PEERS:
        return None
    if backbone in VARIANTS:
        return require_student(name)
    if is_timm_backbone(backbone):
        return require_head(name)
    raise UsageError(
        f"there is no network {name!r}; choose a student ({', '.join(VARIANTS)}), a student with another head, "
        f"such as base+{next(iter(HEADS))}, a backbone of timm with a head, such as tf_efficientnet_lite0+dcf, "
        f"or a peer ({', '.join(PEERS)})"
    )
