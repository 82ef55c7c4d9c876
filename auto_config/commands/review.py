"""`review`: which labels to look at again, and which scans to label next."""

import sys
from pathlib import Path

from auto_config.arguments import Place
from auto_config.errors import UserError


def review(
    bundle: Place,
    *,
    unlabelled: Place | None = None,
    predictions: Place | None = None,
    output: Place = "review.html",
    csv: Place | None = None,
    top: int = 30,
    scans: int = 10,
    false_alarms: float = 0.0002,
    device: str | None = None,
) -> int:
    """Make a page of the labels that are probably wrong, and of the scans that would teach most.

    The labels are those of the bundle's training cases. They are compared with the predictions of unseen cases that
    the calibration kept; the others, and all of a bundle that is not trained, with the points of the other cases.

    Args:
        bundle: a bundle; trained and calibrated, or just created
        unlabelled: folder of scans without labels, to choose from; the bundle must be trained
        predictions: folder that `predict` wrote for images of training cases, for labels without an unseen prediction
        output: the HTML page
        csv: write a table too
        top: most labels that are shown with pictures
        scans: most scans that are suggested
        false_alarms: share of correct labels that a comparison with a network may name
        device: cpu, cuda or cuda:1 for the scans; a GPU if there is one

    Returns:
        The exit status: 0.

    Raises:
        UserError: no bundle, no labels, or an option that cannot be.

    Examples:
        auto_config review brain_landmarks
        auto_config review brain_landmarks --unlabelled new_scans --output next.html --csv next.csv
    """
    if not 0 < false_alarms < 0.5:
        raise UserError(f"--false_alarms {false_alarms}: must be above 0 and below 0.5, such as 0.0002")
    for name, number in (("top", top), ("scans", scans)):
        if number < 1:
            raise UserError(f"--{name} {number}: must be 1 or more")
    for name, place in (("output", output), ("csv", csv)):
        if place is not None and not Path(place).absolute().parent.is_dir():
            raise UserError(f"--{name} {place}: the folder does not exist; create it or choose another")
        if place is not None and Path(place).is_dir():
            raise UserError(f"--{name} {place}: is a folder; give the name of a file")
    root = Path(bundle)
    if not (root / "configs" / "landmarks.json").is_file():
        raise UserError(
            f"{root}: is no bundle, it has no configs/landmarks.json; give a folder that `auto_config create` wrote"
        )

    from auto_config.bundle_scripts.files.text import atomic_write_text
    from auto_config.prediction.input import find_images, training_cases, wanted_images
    from auto_config.review.label_errors import find_label_errors, most_contradicted
    from auto_config.review.page import evidence_note, review_page
    from auto_config.review.sources import bundle_cohort, with_predictions
    from auto_config.review.table import review_table
    from auto_config.wording import counted

    wanted = None if unlabelled is None else find_images(Path(unlabelled), **wanted_images(root))
    cohort, images, notes = bundle_cohort(root)
    if wanted is not None:  # those that are labelled teach nothing new
        labelled = set(training_cases(root, wanted))
        wanted = {case: paths for case, paths in wanted.items() if case not in labelled}
    if predictions is not None:
        cohort = with_predictions(cohort, Path(predictions))
    suspects = find_label_errors(cohort, false_alarms)
    others = most_contradicted(cohort, suspects, false_alarms, max(0, min(5, top - len(suspects))))
    suggested = []
    if wanted is not None:
        from auto_config.bundle.opened import open_bundle
        from auto_config.review.scans import predict_scans, suggest

        found, failed = predict_scans(open_bundle(root, device=device), wanted, cohort.names)
        for line in failed:
            print(f"error: {line}", file=sys.stderr)
        suggested = suggest(found, cohort, images, scans)
    notes = [evidence_note(cohort, false_alarms), *notes]
    page = review_page(
        root.resolve().name,
        cohort,
        images,
        suspects=suspects,
        others=others,
        scans=suggested,
        notes=notes,
        shown=top,
    )
    atomic_write_text(Path(output), page)
    if csv is not None:
        atomic_write_text(Path(csv), review_table(cohort, suspects, others, suggested))
    for note in notes:
        print(note)
    print(f"{counted(len(suspects), 'label')} to look at again, {counted(len(suggested), 'scan')} to label: {output}")
    return 0
