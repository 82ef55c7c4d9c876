"""`python -m auto_config`: the same commands as the console script."""

import sys

from auto_config.cli import main

sys.exit(main())
