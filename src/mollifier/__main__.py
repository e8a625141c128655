"""``python -m mollifier`` is the command ``mollifier``."""

from mollifier.cli import main

if __name__ == "__main__":
    main()
