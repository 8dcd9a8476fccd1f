"""The command line: flags in, a report out. One file a group of commands; no judgement and no HTTP."""
