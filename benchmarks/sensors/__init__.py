"""Sensors of the machine at work: energy, power, clocks, temperatures, memory."""
