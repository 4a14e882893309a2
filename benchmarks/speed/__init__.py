"""How fast the codec and its training are, and what memory they take."""
