"""What answers: the networks in this process, or a Triton server."""
