"""The report of a run or of one evaluation: curves, metrics, calibration, best and worst images, as one HTML file."""
