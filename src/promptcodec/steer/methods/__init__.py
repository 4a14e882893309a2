"""Steering methods, one a module."""
