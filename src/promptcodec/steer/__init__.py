"""Adapters: small networks that turn what a user asks for into the tensors that steer a frozen model."""
