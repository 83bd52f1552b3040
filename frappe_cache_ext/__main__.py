"""`python -m frappe_cache_ext` is `frappe-cache`."""

import sys

from .cli import main

sys.exit(main())
