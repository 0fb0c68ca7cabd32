"""testing: fakes for every port, shipped with the package.

Lives here: stand-ins that pass the same contract suites as the real parts.
Never: anything production code imports.
Enter: tests.
"""
