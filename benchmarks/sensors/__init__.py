"""What the machine tells of itself at work: energy, power, clocks, temperatures, memory."""
