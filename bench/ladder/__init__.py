"""From a naive kernel to the one that gpunet ships, a step at a time: Dense's forward pass. README.md says what for."""
