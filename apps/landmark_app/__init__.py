"""The MONAI Label app that serves landmark bundles. MONAI Label loads ``main.py``; the parts are in ``lib``."""
