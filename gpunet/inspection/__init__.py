"""Where a model's time goes, and the limits of a device."""
