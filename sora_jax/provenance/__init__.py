"""Provenance of files: invisible marks in frames and samples, and signed C2PA manifests."""
