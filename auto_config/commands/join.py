"""`join`: a package set up for the data of a site."""

from pathlib import Path

from auto_config.arguments import Names, Numbers, Place
from auto_config.choices import Coordinates, Missing, NameField, Outside


def join(
    package: Place,
    source: Place,
    bundle: Place,
    *,
    accept: Names | None = None,
    landmarks: Names | None = None,
    format: str | None = None,
    missing: Missing = "unknown",
    outside: Outside = "error",
    coordinates: Coordinates | None = None,
    missing_value: str | None = None,
    names: NameField | None = None,
    pixel_spacing: Numbers | None = None,
    folds: int | None = None,
    test_fraction: float | None = None,
    test: Place | None = None,
    groups: Place | None = None,
    overwrite: bool = False,
    seed: int = 0,
    workers: int | None = None,
) -> int:
    """Set a package up for the data of this site, with the plan of whoever made it.

    Checks that the data fit that plan (landmarks, spacing, grey values, pose, size), and writes a bundle whose data
    list has this site's cases. Nothing leaves this machine. PACKAGE holds code that training runs: take it from people
    you trust.

    Args:
        package: zip that `package` wrote, or the folder of a bundle
        source: the data set of this site, as for `inspect`
        bundle: folder to write
        accept: checks to overrule: spacing, normalization, pose, size
        landmarks: names of SOURCE to keep; all if not given
        format: read SOURCE as this format instead of detecting it
        missing: what a name that one case's file lacks means: unknown or absent
        outside: what a point outside its image is: error or absent
        coordinates: what the numbers of a table or old .fcsv are, if it does not say it: ras, lps, voxel, pixel, mm
        missing_value: coordinates that mark a missing point: 0 or -1,-1; none: all are real
        names: name of a point in Slicer's files: labels, descriptions or order
        pixel_spacing: mm of a pixel of pictures, one number or x,y, if the files do not say it
        folds: number of folds; 5, or each case one of its own where labels are few
        test_fraction: share of the cases to hold back; 0.2, or 0 where labels are few
        test: file with the names of the test cases, one a line
        groups: CSV `case,group`: cases of one group stay together
        overwrite: replace BUNDLE if it is there
        seed: of the split
        workers: processes to read with, one on each core if not given

    Returns:
        0.

    Raises:
        UserError: no package, a folder in the way, or data that do not fit the plan; each problem is printed first.

    Examples:
        auto_config join brains.zip our_scans site_a
        auto_config join brains.zip our_scans site_a --landmarks AC,PC --accept spacing
    """
    from rich.console import Console

    from auto_config.bundle.planning_data import SplitOptions
    from auto_config.datasets import read_dataset
    from auto_config.datasets.assembly.groups import meant_cases, with_groups
    from auto_config.federation.site import join_site
    from auto_config.inspection.terminal import refuse_errors
    from auto_config.planning import read_test_file
    from auto_config.wording import counted

    console = Console(stderr=True, highlight=False)
    test_names = None if test is None else read_test_file(Path(test))
    dataset, problems = read_dataset(
        source,
        format=format,
        missing=missing,
        landmarks=landmarks,
        coordinates=coordinates,
        names=names,
        pixel_spacing=pixel_spacing,
        missing_value=missing_value,
    )
    if test_names is not None:
        test_names = meant_cases(dataset, test_names)
    if groups is not None:
        dataset = with_groups(dataset, Path(groups))
    joined = join_site(
        Path(package),
        Path(bundle).absolute(),
        dataset,
        problems=problems,
        wishes=SplitOptions(folds, test_fraction, test_names, None, seed),
        refuse=lambda found: refuse_errors(found, console),
        accept=accept or (),
        outside=outside,
        workers=workers,
        overwrite=overwrite,
    )
    unseen = [name for name, known in zip(joined.names, joined.known, strict=True) if not known]
    cases = f"{counted(len(joined.split.folds), 'training case')} and {counted(len(joined.split.test), 'test case')}"
    print(f"{bundle}: {cases} of this site, {counted(len(joined.names), 'landmark')} of the plan")
    if unseen:
        print(f"unknown at this site, learnt from others alone: {', '.join(unseen)}")
    if not joined.weights:
        print("the package has no weights: the first round begins with a new network")
    return 0
