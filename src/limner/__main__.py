"""`python -m limner`: the command line, also for launchers such as torchrun and accelerate."""

from .apps.cli.main import main

raise SystemExit(main())
