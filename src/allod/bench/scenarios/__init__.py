"""The scenarios: one file each. A scenario is a list of cases, a case is measured as often as wanted."""
