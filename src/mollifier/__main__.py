"""``python -m mollifier`` is the command ``mollifier``."""

from mollifier.cli.app import main

if __name__ == "__main__":
    main()
