"""What a rule's counts hold of gates, by name. This file loads no torch."""

GATE_OPENS = "gate_opens"  # on how many images of each class each gate is above 0: (C, N) int32
GATE_SUMS = "gate_sums"  # of each gate over the images of each class: (C, N) float64
GATE_SIZES = "gate_sizes"  # the images of each class: (C,) int64
GATE_COUNTS = (GATE_OPENS, GATE_SUMS, GATE_SIZES)
