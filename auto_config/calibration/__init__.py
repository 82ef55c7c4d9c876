"""From predictions of cases that a network has not seen: how sure it is, where a landmark lies, whether it is there."""
