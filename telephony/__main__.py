"""``python -m telephony`` is the command ``telephony``."""

from telephony.cli import main

if __name__ == "__main__":
    main()
