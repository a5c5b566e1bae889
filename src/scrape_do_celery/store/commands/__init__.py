"""The commands of the store, with one module for each subject. This package exports nothing itself."""
