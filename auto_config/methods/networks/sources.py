"""Publications that several rows cite."""

H3DE = "Huang et al., H3DE-Net: Efficient and Accurate 3D Landmark Detection in Medical Imaging, arXiv 2502.14221, 2025"
PAYER = (
    "Payer et al., Integrating Spatial Configuration into Heatmap Regression Based CNNs for Landmark Localization, "
    "Medical Image Analysis 54, 2019"
)
LANDMARKER = "Jonkers et al., landmarker, SoftwareX 2025; McCouat and Voiculescu, Contour-Hugging Heatmaps, CVPR 2022"
SR_UNET = "Zhang et al., SR-UNet, Computers in Biology and Medicine 182, 109095, 2024"
ANCHOR_BALLS = (
    "He et al., Anchor Ball Regression Model for Large-Scale 3D Skull Landmark Detection, Neurocomputing 567, 2024"
)
DARK = "Zhang et al., Distribution-Aware Coordinate Representation for Human Pose Estimation, CVPR 2020"
