"""Looking at models: where their time goes (`model.profile`, `model.warmup`), and whether devices agree (`parity`)."""

from gpunet.inspection.comparison import parity
from gpunet.inspection.parity_report import Drift, Parity, ParityRow
from gpunet.inspection.profile import Profile, Row
from gpunet.inspection.roofline import Roofline, roofline_of
from gpunet.inspection.warmup import WarmUp

__all__ = ["Drift", "Parity", "ParityRow", "Profile", "Roofline", "Row", "WarmUp", "parity", "roofline_of"]
