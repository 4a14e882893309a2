"""What the operating system gives: files that appear whole or not at all, memory, optional packages. No torch."""
