"""Other services' ways to ask for a classification, so that their clients work against this one."""
