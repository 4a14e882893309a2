"""Codecs by what recognisers still see in their pictures."""
