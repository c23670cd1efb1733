"""``python -m tidecast``, the same as the command `tidecast`."""

from tidecast.flows.cli.main import main

if __name__ == "__main__":
    main()
