"""One thread for each test process: pytest-xdist runs as many processes as there are cores.

Set before torch is loaded, and inherited by the command lines that tests start.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
