"""Optimisation: parameter groups, schedules of rates and crops, and the average of weights over steps."""
