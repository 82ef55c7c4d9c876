"""The fine stage of two: crops about points, as the coarse stage will find them."""
