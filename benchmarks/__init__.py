"""Commands that measure this codec; README.md says what each writes and how long it takes."""
