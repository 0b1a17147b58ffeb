"""The site model: what the router has learned of run times, queue waits and transfers."""

from .queue_waits import QueueWaits, WaitDistribution
from .run_times import Prediction, RunTimeModel
from .site_model import SiteModel
from .transfers import Transfers

__all__ = ["Prediction", "QueueWaits", "RunTimeModel", "SiteModel", "Transfers", "WaitDistribution"]
