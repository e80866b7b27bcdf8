"""``python -m tvmpose``: the same as the ``tvmpose`` command."""

from tvmpose.cli.main import main

raise SystemExit(main())
