"""Decoders: DCF, the heads of Table IV and the peers' own, with the layers that they share. Torch."""
