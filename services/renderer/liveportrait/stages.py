"""What a batch of frames is between the stages of the renderer; marks say when a stage began and when it is done."""

from dataclasses import dataclass

from torch import Tensor

from services.renderer.device import Mark, Slot
from services.renderer.liveportrait.portrait import Portrait
from services.renderer.liveportrait.precision import Synthesised


@dataclass(frozen=True)
class Uploaded:
    """Driving key points on their way to the device."""

    portraits: tuple[Portrait, ...]
    x_d: Tensor
    begun: Mark
    done: Mark


@dataclass(frozen=True)
class Computed:
    """Frames of a batch on the device, as soon as ``done`` is reached."""

    uploaded: Uploaded
    made: Synthesised
    begun: Mark
    done: Mark


@dataclass(frozen=True)
class Downloaded:
    """Frames of a batch in host memory, as soon as ``done`` is reached. Holds every tensor of the batch until then."""

    computed: Computed
    slot: Slot
    begun: Mark
    done: Mark
