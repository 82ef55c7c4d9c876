"""Calibration on labelled cases of another data set, none of which the networks have seen."""
