"""`python -m augury`: the command line."""

from augury.cli.app import main

main()
