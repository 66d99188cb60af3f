"""The defect types that are no real ones: names that images and prompts share."""

NORMAL_TYPE = "good"
SIMULATED_TYPE = "contamination"
