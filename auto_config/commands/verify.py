"""`verify`: everything that the checks of MONAI's model zoo ask of a bundle, offline."""

from collections import Counter
from pathlib import Path

from auto_config.arguments import Place


def verify(bundle: Place, *, dataset_dir: Place | None = None, schema: Place | None = None) -> int:
    """Check a bundle as MONAI's model zoo does, offline: files, metadata, shapes, properties, exports.

    Prints one line for each check with the remedy of what failed. The code of the bundle is run: verify only what you
    would also train or predict with.

    Args:
        bundle: folder of the bundle
        dataset_dir: folder with the images of its data list; that of train.json if not given
        schema: a copy of the schema that metadata.json names, which MONAI would fetch from the network

    Returns:
        The exit status: 0, or 1 if a check failed.

    Raises:
        UserError: not a bundle, or no such folder or file.

    Examples:
        auto_config verify brain_landmarks
    """
    from auto_config.verification.checks import findings_of, summary

    findings = findings_of(Path(bundle), dataset_dir=dataset_dir, schema=schema)
    for finding in findings:
        print(finding)
    counts = Counter(finding.state for finding in findings)
    print(summary(counts))
    return 1 if counts["failed"] else 0
