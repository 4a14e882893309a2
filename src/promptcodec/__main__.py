"""``python -m promptcodec``, and the command ``promptcodec``."""

import os
import sys

from promptcodec.system.import_path import leave_out_working_folder


def main() -> None:
    """Run the command line. Ctrl-C is one line and exit code 1 from the first moment on."""
    leave_out_working_folder()
    import signal

    signal.signal(signal.SIGINT, _interrupted)
    from promptcodec.cli.app import main as run

    run()


def _interrupted(*_: object) -> None:
    if sys.stderr is not None:
        sys.stderr.write("promptcodec: interrupted\n")
    os._exit(1)  # nothing has been begun; an exception could come up inside a library that is being loaded


if __name__ == "__main__":
    main()
