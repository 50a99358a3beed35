"""`python -m limner.apps.cli`: for launchers such as torchrun and accelerate."""

from .main import main

raise SystemExit(main())
