"""The GPU report: everything that a visit to a card can prove and measure, in parts, within minutes."""
