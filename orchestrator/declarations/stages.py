"""The stages of a point: what was done to its modules before they were measured."""

CUT = "cut"  # nothing: they were measured as they were cut
REFIT = "refit"  # the layers that read cut units were refitted by least squares
TUNED = "tuned"  # they were trained for some epochs more
SEPARATE = "separate"  # networks of single classes, as the method publishes them instead of one
STAGES = (REFIT, TUNED)  # after cutting, each from the cut modules
STAGE_SIZES = (2, 5)  # of the class subsets that are refitted and tuned, beside all classes
STAGE_SUBSETS = 2  # of each size
