"""What optimizers with moments have in common."""

from __future__ import annotations

import numpy as np

BELOW_ONE = float(np.nextafter(1, 0))  # beta = 1 would keep the moments at 0 and divide by 0
