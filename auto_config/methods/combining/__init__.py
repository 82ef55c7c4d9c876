"""Free combination: tables of targets, losses and decoders, what fits what, and the method that a choice makes."""
