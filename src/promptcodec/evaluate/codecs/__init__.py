"""Codecs under test."""
