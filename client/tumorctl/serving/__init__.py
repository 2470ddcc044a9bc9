"""A real Triton server on this machine, as a managed process."""
