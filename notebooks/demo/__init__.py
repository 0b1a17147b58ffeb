"""The demo: measured X-ray fluorescence spectra, fitted at two sites through the federation."""
