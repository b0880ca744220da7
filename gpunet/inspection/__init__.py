"""Where a model's time goes: `model.profile` and `model.warmup`, and the limits of a device."""

from gpunet.inspection.profile import Profile, Row
from gpunet.inspection.roofline import Roofline, roofline_of
from gpunet.inspection.warmup import WarmUp

__all__ = ["Profile", "Roofline", "Row", "WarmUp", "roofline_of"]
