"""``python -m promptcodec``."""

from promptcodec.cli.app import main

if __name__ == "__main__":
    main()
