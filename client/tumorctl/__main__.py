"""``python -m tumorctl``: the command line of this very interpreter, whatever is on the PATH."""

from tumorctl.cli.main import main

if __name__ == "__main__":
    main()
