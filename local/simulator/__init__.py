"""A simulator of the Vmake AI Fashion Model V4 API: real images, counted charges, faults."""

from .control import Charges, ControlError, SimulatorControl
from .server import SimulatorServer
from .settings import Settings

__all__ = ["Charges", "ControlError", "Settings", "SimulatorControl", "SimulatorServer"]
