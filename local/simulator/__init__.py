"""A simulator of the Vmake AI Fashion Model V4 API: real images, counted charges, faults."""

from local.simulator.control import Charges, ControlError, SimulatorControl
from local.simulator.server import SimulatorServer
from local.simulator.settings import Settings

__all__ = ["Charges", "ControlError", "Settings", "SimulatorControl", "SimulatorServer"]
